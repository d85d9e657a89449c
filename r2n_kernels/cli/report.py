"""r2n report makes one HTML page of benchmark records, or JSON for other tools."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..benchmarks.exports import FORMATS
from ..benchmarks.records import Record
from ..errors import ConfigError
from ..text import counted
from .compare import read_records
from .output import check_output, make_folder, write_json

EXAMPLES = """examples:
  r2n report records.jsonl
  r2n report cpu.jsonl gpu.jsonl --output report.html --png charts
  r2n report records.jsonl --format github-action-benchmark --output -

Needs matplotlib, Jinja2 and scipy: pip install 'r2n_kernels[report]'.
The page is one file that asks for nothing else, so it can be sent or published
as it is, and starts no script. It shows what the records measured, and
predicts nothing: speed beside the peers, its history with regressions, all
figures, roofline and time of the steps, and where the records come from.

exit codes:
  0 the page is written, whatever it shows; 2 a damaged file, a file that
  cannot be written, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="files of records (JSONL)")
    add("--format", choices=("html", *FORMATS), default="html", metavar="NAME",
        help=f"html, or for other tools the newest record of each thing as JSON: "
        f"{', '.join(FORMATS)} (its customSmallerIsBetter)")  # fmt: skip
    add("--output", metavar="FILE", help="default: report.html, or report.json; - for JSON on "
        "standard output")  # fmt: skip
    add("--commit-url", metavar="URL", help="where a commit is shown, with {sha} in it, as in "
        "https://forge.example/me/project/commit/{sha}; or none (default: of the git remote, if it "
        "is of a known forge)")  # fmt: skip
    add("--png", metavar="DIR", help="write each chart there, too; made if it is not there")


def run(args: argparse.Namespace) -> int:
    page = args.format == "html"
    args.output = args.output or ("report.html" if page else "report.json")
    if not page and (args.png is not None or args.commit_url):
        raise ConfigError("--png and --commit-url go with --format html alone")
    if page and args.output == "-":
        raise ConfigError("--output -: the page is a file")
    check_output("--output", args.output, args.records)
    url = commit_url(args.commit_url) if page else None
    records = [record for name in args.records for record in read_records(name)]
    if page:
        return write_page(args, records, url)
    write_json(args.output, FORMATS[args.format](records))
    return 0


def write_page(args: argparse.Namespace, records: Sequence[Record], url: str | None) -> int:
    from ..benchmarks.report.links import Links
    from ..benchmarks.report.output import build, write

    sources = dict.fromkeys(Path(name).name for name in args.records)
    built = build(records, tuple(sources), Links(url), pngs=args.png is not None)
    if args.png is not None:
        folder = make_folder("--png", args.png)
        for name, content in built.pngs.items():
            write(folder / name, content)
    write(Path(args.output), built.html.encode())
    told = counted(len(records), "record"), counted(built.charts, "chart")
    print(f"{args.output}: {', '.join(told)}, {counted(built.regressions, 'regression')}")
    return 0


def commit_url(given: str | None) -> str | None:
    """Return the template of commits' addresses. Raises ConfigError for one that is none."""
    from ..benchmarks.report.links import checked, own_template

    if given == "none":
        return None
    return own_template() if given is None else checked(given)
