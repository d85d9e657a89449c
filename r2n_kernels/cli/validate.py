"""r2n validate counts how often a model is right on a labelled set, and how often it is timm's."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..text import counted, printable
from .arguments import add_loaded_model, number, positive
from .output import check_output, write_json
from .preprocessing import add_preprocessing, class_map_from, labels_from, prepare
from .reading import add_images
from .terminal import say
from .written import add_resume

if TYPE_CHECKING:
    from ..proof.accuracy import Tally

EXAMPLES = """examples:
  r2n validate imagenet/val --weights tuned.pth --model res2net50d
  r2n validate val.parquet --model local-dir:tuned --output rows.jsonl
  r2n validate val/ --model digits --against timm --min-top1 95

An image's label is the subfolder that it is in, or the label that a Parquet
file or a tar has for it. A name's index is that of --class-map, of the model's
label names, of ImageNet's synsets (n01440764), or its place in the sorted
folders where the model says no names. An image that fails, or has no label of
the model's, counts as neither right nor wrong; timm's validate.py takes the
next image in its place.

--against timm runs the same images through timm: its reading of the weights,
its transform, its network. It holds when the logits are as near to those in a
wider dtype as timm's own, within a factor of two (as in `r2n parity`).

exit codes:
  0 done; 1 top-1 below --min-top1, timm's logits not met, or with --strict an
  image failed; 2 wrong usage, model or weights, or no image counted;
  130 stopped
"""
percent = number("a number from 0 to 100", lambda value: 0 <= value <= 100)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add_preprocessing(parser)
    add = parser.add_argument
    add("--against", choices=("timm",), help="run the same images through timm, and compare")
    add("--topk", type=positive, default=5, metavar="K",
        help="right is also whoever has the class among the best K (default: 5)")  # fmt: skip
    add("--min-top1", type=percent, metavar="X", help="exit with 1 where top-1 is below X percent")
    add("--output", metavar="FILE", help=".jsonl: a row per image")
    add_resume(parser)
    add("--json", metavar="FILE", help="write the summary there; - for standard output")


def run(args: argparse.Namespace) -> int:
    from ..batch import Run
    from ..data import target_of
    from ..results import Output
    from .batches import inputs_identity, rows_identity
    from .load import model_from
    from .reading import feeding_from, inputs_from
    from .validate_run import ValidateRun, folders_of

    if args.resume and not args.output:
        raise ConfigError("--resume goes on with the rows of --output, which is not given")
    if args.output and not args.output.endswith(".jsonl"):
        raise ConfigError(f"--output {args.output!r}: rows with labels are written as .jsonl")
    if args.against and (args.isolate or args.decode != "exact"):
        raise ConfigError("--against timm decodes as timm does: without --isolate, and exactly")
    feeding = feeding_from(args)
    inputs = inputs_from(args, labelled=True)
    check_output("--json", args.json, inputs.files)
    model = model_from(args)
    if model.num_classes == 0:
        raise ConfigError("this model has no classifier, and is never right or wrong")
    config = prepare(args, model)
    class_map, folders = class_map_from(args), folders_of(args.paths, inputs)
    target, how = target_of(
        model.pretrained_cfg, model.num_classes, class_map, folders, inputs.classes
    )
    run = Run(model, lambda x: model(x).float(), args.batch_size)
    work = ValidateRun(args, run, inputs, target, labels_from(args, model), feeding)
    made = rows_identity(run, feeding) | inputs_identity(args, inputs)
    made |= {"labels": target.digest, "against": args.against}
    output = None
    if args.output:
        output = Output(args.output, "classes", topk=work.topk, inputs=inputs.files)
    with (
        output.begin(made, resume=args.resume, batch_size=run.batch_size)
        if output
        else contextlib.nullcontext() as sink
    ):  # fmt: skip
        tally = work.run(sink)
    if not tally.counted:
        raise ConfigError(f"no image could be counted; the first: {tally.first_error}")
    summary: dict[str, Any] = {"model": args.model, "weights": args.weights, "labels": how}
    summary |= {"preprocessing": config, "k": work.topk, **tally.summary(), "timing": work.timing()}
    if args.json:
        write_json(args.json, summary)
    if args.json != "-":
        show(tally, summary)
    return verdict(args, tally)


def show(tally: Tally, summary: dict[str, Any]) -> None:
    """Print the counts, and where timm differs."""
    print(f"{counted(summary['images'], 'image')}, labels by {summary['labels']}")
    if tally.failed:
        failed = f"{counted(tally.failed, 'image')} failed, and counted as neither right nor wrong"
        print(f"{failed}; the first: {printable(tally.first_error or '')}")
    for name, key in (("top-1", "top1"), (f"top-{summary['k']}", "topk")):
        found = summary[key]
        low, high = found["interval95"]
        print(
            f"{name:<7}{found['share']:>8.2%}  {found['right']} of {found['of']}; "
            f"95 % interval {low:.2%} to {high:.2%}"
        )
    timing = summary["timing"]
    if timing["images"]:
        print(
            f"model {timing['model_ms']:.2f} ms per image, {timing['images_per_s']:.1f} img/s in "
            f"all, over {counted(timing['images'], 'image')}"
        )
    if "timm" not in summary:
        return
    theirs, found = summary["timm"], tally.verdict
    print(
        f"timm   {theirs['top1_equal']} of {theirs['of']} top-1 equal; logits: error "
        f"{found.error:.1e}, limit {found.limit:.1e}: {'ok' if found.passed else 'FAIL'}"
    )
    for row in tally.differing:
        ours = row["topk"][0]["index"] if row["topk"] else "none"
        print(f"  {printable(row['path'])}: {ours}, timm {row['timm_top1']}")


def verdict(args: argparse.Namespace, tally: Tally) -> int:
    """Return the exit code, and say what makes it 1."""
    faults = []
    share = 100 * tally.top1 / tally.counted
    if args.min_top1 is not None and share < args.min_top1:
        faults.append(f"top-1 is {share:.2f} %, below --min-top1 {args.min_top1:g}")
    if tally.compared and not tally.verdict.passed:
        faults.append("the logits are further from the truth than timm's may be")
    if args.strict and tally.failed:
        faults.append(f"{counted(tally.failed, 'image')} failed")
    for fault in faults:
        say(f"r2n: {fault}")
    return 1 if faults else 0
