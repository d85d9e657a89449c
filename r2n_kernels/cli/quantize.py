"""r2n quantize writes weights as a folder that OpenVINO runs in int8, and says what that costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..text import counted, listed, printable
from .arguments import LOADABLE, add_shared, add_weights, positive
from .output import check_output, write_json
from .preprocessing import add_preprocessing, class_map_from
from .progress import progress
from .terminal import say
from .validate import percent

if TYPE_CHECKING:
    from ..data.targets import Target
    from ..model import Res2NetModel
    from ..sources import Inputs

EXAMPLES = """examples:
  r2n quantize --weights tuned.pth --model res2net50d --calibrate val/ -o int8
  r2n quantize --model local-dir:tuned --calibrate photos/ --no-labels -o int8

Some hundred images of FOLDER, spread evenly, show which values a layer reads.
Where FOLDER has a subfolder a class, as for `r2n validate`, accuracy on all of
its images counts, else how often int8 agrees with float32: layers go back to
float, the most sensitive first, until --max-drop holds. Images are held in
memory, 150 kB each at 224 px.

The new folder holds config.json, model.safetensors (float32: other backends,
and timm, run that) and quantization.safetensors. On a CPU it runs in int8:
r2n classify photos/ --model local-dir:int8

exit codes:
  0 done; 1 --max-drop does not hold, and nothing is written; 2 wrong usage,
  model, weights or images; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--model", help=f"{LOADABLE} (default: %(default)s)")
    add_weights(parser)
    add_preprocessing(parser)
    add = parser.add_argument
    add("--calibrate", metavar="FOLDER", required=True,
        help="images as the model will see them; or whatever `r2n validate` reads")  # fmt: skip
    add("--images", type=positive, default=300, metavar="N",
        help="that ranges are taken from (default: 300)")  # fmt: skip
    add("--max-drop", type=percent, default=0.5, metavar="POINTS",
        help="how much lower top-1 may be, in percentage points (default: 0.5)")  # fmt: skip
    add("--no-labels", action="store_true",
        help="the subfolders are no classes: agreement with float32 is what counts")  # fmt: skip
    add("-o", "--output", metavar="FOLDER", required=True, help="a new one")
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    from ..create import save_folder
    from ..data import create_transform
    from ..quantize import agreement, on_openvino, packages, quantize, read_calibration
    from ..sources import find_inputs
    from ..weights import check_new
    from .convert import described_model

    packages()  # says first what is missing
    check_new(args.output)
    inputs = find_inputs([args.calibrate], labelled=not args.no_labels)
    check_output("--json", args.json, inputs.files)
    model, config = described_model(args)
    target, how = target_from(args, model, inputs)
    with progress(None, "img") as bar:
        calibration, failed = read_calibration(
            inputs, create_transform(**config), target, bar.update
        )
        quantization = quantize(
            model, calibration, images=args.images, max_drop=args.max_drop, tick=bar.update
        )
        int8 = on_openvino(model, quantization)
        found = agreement(on_openvino(model), int8, calibration, bar.update)
    int8.quantization = replace(quantization, facts={**quantization.facts, "agreement": found})
    holds = found["drop"] <= args.max_drop
    if holds:
        save_folder(int8, args.output)
    report = {"model": args.model, "weights": args.weights, "output": args.output, "labels": how}
    report |= {"failed": len(failed), "written": holds, **int8.quantization.facts}
    if args.json:
        write_json(args.json, report)
    if args.json != "-":
        show(report, failed)
    if not holds:
        say(f"r2n: the drop is above --max-drop {args.max_drop:g}: {args.output} is not written")
    return 0 if holds else 1


def target_from(
    args: argparse.Namespace, model: Res2NetModel, inputs: Inputs
) -> tuple[Target | None, str]:
    """Return what turns labels into classes, or None where there are none, and how, for people.

    Raises ConfigError for labels that are no classes.
    """
    from ..data import target_of
    from .validate_run import folders_of

    folders = folders_of([args.calibrate], inputs)
    if args.no_labels or folders == []:
        return None, "none"
    class_map = class_map_from(args)
    return target_of(model.pretrained_cfg, model.num_classes, class_map, folders, inputs.classes)


def show(report: dict[str, Any], failed: Sequence[str]) -> None:
    """Print what int8 costs, and which layers stayed in float."""
    found, kept = report["agreement"], report["in_float"]
    images, used = counted(found["images"], "image"), report["calibration_images"]
    print(f"{images}, {used} of them for ranges; labels by {report['labels']}")
    if failed:
        print(f"{counted(len(failed), 'image')} failed; the first: {printable(failed[0])}")
    if "top1_int8" in found:
        print(f"top-1      float32 {found['top1_float32']:.2%}, int8 {found['top1_int8']:.2%}")
    print(f"agreement  {found['top1_equal']:.2%} of the images have the same top-1")
    print(
        f"logits     cosine {found['cosine_mean']:.5f}, of the worst image "
        f"{found['cosine_min']:.5f}; error {found['error']:.1e} of the largest"
    )
    print(f"drop       {found['drop']:.2f} points, of {report['max_drop']:g} allowed")
    names = f"; in float: {listed(kept)}" if kept else ""
    print(
        f"int8       {report['convolutions'] - len(kept)} of {report['convolutions']} layers{names}"
    )
