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
as it is. It shows what the records measured, and predicts nothing: speed beside
the peers, its history with regressions, all figures, roofline and time of the
steps, and where the records come from. It starts no script.

exit codes:
  0 the page is written, whatever it shows; 2 a damaged file, a file that
  cannot be written, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="files of records (JSONL)")
    add("--output", default="report.html", metavar="FILE", help="default: %(default)s")
    add("--commit-url", metavar="URL", help="where a commit is shown, with {sha} in it, as in "
        "https://forge.example/me/project/commit/{sha}; or none (default: of the git remote, if it "
        "is of a known forge)")  # fmt: skip
    add("--png", metavar="DIR", help="write each chart there, too; made if it is not there")


def run(args: argparse.Namespace) -> int:
    from ..benchmarks.report.links import Links
    from ..benchmarks.report.output import build, write

    links = Links(commit_url(args.commit_url))
    check_output("--output", args.output, args.records)
    records = [record for name in args.records for record in read_records(name)]
    sources = dict.fromkeys(Path(name).name for name in args.records)
    built = build(records, tuple(sources), links, pngs=args.png is not None)
    if args.png is not None:
        write_charts(Path(args.png), built.pngs)
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


def write_charts(folder: Path, pngs: dict[str, bytes]) -> None:
    from ..benchmarks.report.output import write

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--png {str(folder)!r}: {error.strerror}") from error
    for name, content in pngs.items():
        write(folder / name, content)
