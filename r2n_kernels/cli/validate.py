"""r2n validate counts how often a model is right on labelled images, and whether timm agrees."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..text import Table, counted, printable
from .arguments import add_loaded_model, positive
from .preprocessing import add_class_map, add_preprocessing
from .reading import add_images
from .written import add_csv, add_resume

if TYPE_CHECKING:
    from ..proof.accuracy import Tally
    from ..proof.tolerance import Verdict
    from ..results import Row

EXAMPLES = """examples:
  r2n validate val/ --model res2net50d --weights tuned.pth --class-map map.txt
  r2n validate val/ --against timm --output rows.jsonl --json report.json
  r2n validate shards/*.tar --dtype bfloat16 --device cuda --min-top1 0.79
  r2n validate val.parquet --output rows.csv --resume

An image's label is the subfolder that it is in, the .cls or .json beside it in
a tar, or a table's column. A number is a class's index. A name has the index
that --class-map gives it, else the model's label names, else ImageNet's
synset, else, in folders alone, its place in their sorted names.

--against timm: timm reads the same weights and images by itself. The largest
difference of our logits from those in a wider dtype may be twice timm's own.

An image that cannot be read is an error row, and in no count. (timm's validate
takes the next image in its place, which then counts twice.)

exit codes:
  0 done; 1 timm's logits are others, top-1 is below --min-top1, no image could
  be read, or with --strict one failed; 2 wrong usage, labels, model or
  weights; 130 stopped
"""
PEERS = ("timm",)


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got '{text}'")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add_preprocessing(parser)
    add_class_map(parser)
    add = parser.add_argument
    add("--against", choices=PEERS, help="compare with timm, image by image")
    add("--min-top1", type=share, metavar="X", help="exit with 1 below such a top-1, as 0.79")
    add("--topk", type=positive, default=5, metavar="K", help="classes per row (default: 5)")
    add("--output", metavar="FILE", help="a row per image, .jsonl or .csv")
    add("--json", metavar="FILE", help="write the report there; - for standard output")
    add_resume(parser)
    add_csv(parser)


def run(args: argparse.Namespace) -> int:
    from ..names import is_bundle
    from ..proof.accuracy import FIELDS, PEER_FIELDS, Tally
    from ..results import Output
    from .batches import take
    from .judge import Judge
    from .output import check_output, write_json
    from .reading import inputs_from
    from .written import check_apart

    if args.resume and not args.output:
        raise ConfigError("--resume needs --output")
    if args.against and is_bundle(args.model):
        raise ConfigError(f"--against timm: {args.model} is a bundle, which timm cannot read")
    check_output("--json", args.json, [args.output])
    output = None
    if args.output:
        extra = (*FIELDS, *(PEER_FIELDS if args.against else ()))
        output = Output(
            args.output, "classes", topk=args.topk, inputs=args.paths, names=args.names,
            escape_formulas=args.escape_formulas, bom=args.bom, extra=extra,
        )  # fmt: skip
    inputs = inputs_from(args, labelled=True)
    check_apart(args, inputs)
    judge = Judge(args, inputs.folders(), inputs.classes)
    work = judge.work()
    tally = Tally(judge.model.dtype if args.against else None)
    code = take(args, inputs, work, output or Unwritten(), tell=tally.add)
    if not (tally.labelled or tally.unlabelled or tally.mislabelled):
        return code  # no image could be read, which was told
    if not tally.labelled:
        raise ConfigError("no image has a label that is a class: there is nothing to count")
    why = tally.objections(args.min_top1)
    timm = None if judge.peer is None else judge.peer.version
    report = {
        "passed": not why, "objections": why, "labels_by": judge.target.how, **tally.record(),
        "timm": timm, "run": work.identity,
    }  # fmt: skip
    if args.json != "-":
        show(tally, timm)
        print(f"validate: {'FAIL: ' + '; '.join(why) if why else 'PASS'}")
    if args.json:
        write_json(args.json, report)
    return 1 if why else code


class Unwritten:
    """Rows that nobody asked for are not written; they were counted."""

    rows = 0

    def earlier(self) -> Iterator[Row]:
        return iter(())

    def write(self, rows: Sequence[Row], vectors: object = None) -> None:
        """Do nothing."""


def show(tally: Tally, timm: str | None) -> None:
    """Print the counts, and what differs. timm: its version."""
    titles = {"top1": "top-1", "top5": "top-5", "timm_top1": "timm's top-1"}
    names = ("", "right", "of", "share", "95 % interval")
    table = Table(list(zip(names, ("<12", ">9", ">9", ">8", ">20"), strict=True)))
    print(table.head)
    for name, one in tally.shares.items():
        low, high = (f"{bound:.2%}" for bound in one.interval)
        cells = [titles[name], one.count, one.total, f"{one.value:.2%}", f"{low} to {high}"]
        print(table.line(cells))
    apart = (
        (tally.failed, "could not be read"),
        (tally.mislabelled, "with a label that is no class"),
        (tally.unlabelled, "without a label"),
    )
    for count, what in apart:
        if count:
            print(f"{counted(count, 'image')} {what}: in no count")
    if tally.verdict is not None:
        show_agreement(tally, tally.verdict, timm)


def show_agreement(tally: Tally, verdict: Verdict, timm: str | None) -> None:
    from ..proof.tolerance import oracle_dtype

    wide = str(oracle_dtype(verdict.dtype)).removeprefix("torch.")
    print(
        f"timm {timm}: the same top-1 for {tally.agreed} of {counted(tally.compared, 'image')}; "
        f"logits differ by {tally.errors['difference']:.1e} at most"
    )
    print(
        f"from {wide}: ours {verdict.error:.1e}, timm's {verdict.eager:.1e}, "
        f"limit {verdict.limit:.1e}"
    )
    for one in tally.differing:
        told = f"ours {one['ours']}, timm {one['timm']}, label {one['target']}"
        print(f"differs: {printable(one['path'])}: {told}")
    for path in tally.beyond:
        print(f"beyond the limit: {printable(path)}")
