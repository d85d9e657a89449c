"""These arguments say where rows are written, and how."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..results import Output
    from ..sources import Inputs

DTYPES = ("float32", "float16")
NAMES = ("bytes", "percent")  # results.rows.NAMES


def add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", action="store_true",
        help="go on behind the rows that an earlier run left in FILE.partial",
    )  # fmt: skip


def add_csv(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("of a .csv").add_argument
    add(
        "--escape-formulas",
        action="store_true",
        help="a ' before text that a spreadsheet would run",
    )
    add(
        "--names",
        choices=NAMES,
        default=NAMES[0],
        help="bytes of names that are no UTF-8: as they are, or as %%FF (default: bytes)",
    )
    add("--bom", action="store_true", help="the mark by which Excel knows UTF-8")


def check_resumable(args: argparse.Namespace, output: Output | None) -> None:
    """Raise ConfigError, before the work, where --resume finds a whole file and no rows."""
    if output is not None and args.resume and output.finished:
        raise ConfigError(
            f"--resume: {args.output!r} is there, and no rows of a run that ended early; what made "
            "it is not known: without --resume it is replaced"
        )


def check_apart(args: argparse.Namespace, inputs: Inputs) -> None:
    """Raise ConfigError where the output is one of the files that were found to be read."""
    from ..results import find_place

    if args.output:
        find_place(args.output, inputs.files)
