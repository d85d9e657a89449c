"""r2n report makes one HTML page of benchmark records."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ConfigError
from ..text import counted
from .compare import read_records
from .output import check_output

EXAMPLES = """examples:
  r2n report records.jsonl
  r2n report cpu.jsonl gpu.jsonl --output report.html --png charts

Needs matplotlib: pip install 'r2n_kernels[report]'.
The page is one file that asks for nothing else, so it can be sent or published
as it is. It shows what the records measured, and predicts nothing: throughput,
history with regressions, roofline and time of the steps, and where the records
come from.

exit codes:
  0 the page is written, whatever it shows; 2 a damaged file, a file that
  cannot be written, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="files of records (JSONL)")
    add("--output", default="report.html", metavar="FILE", help="default: %(default)s")
    add("--png", metavar="DIR", help="write each chart there, too; made if it is not there")


def run(args: argparse.Namespace) -> int:
    from ..benchmarks.report.output import build, write

    check_output("--output", args.output, args.records)
    records = [record for name in args.records for record in read_records(name)]
    sources = dict.fromkeys(Path(name).name for name in args.records)
    built = build(records, tuple(sources), pngs=args.png is not None)
    if args.png is not None:
        write_charts(Path(args.png), built.pngs)
    write(Path(args.output), built.html.encode())
    told = counted(len(records), "record"), counted(built.charts, "chart")
    print(f"{args.output}: {', '.join(told)}, {counted(built.regressions, 'regression')}")
    return 0


def write_charts(folder: Path, pngs: dict[str, bytes]) -> None:
    from ..benchmarks.report.output import write

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--png {str(folder)!r}: {error.strerror}") from error
    for name, content in pngs.items():
        write(folder / name, content)
