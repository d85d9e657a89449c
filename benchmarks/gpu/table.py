"""Make the table of GPUs in docs/gpu.md from the records of runs.

Only the newest commit of a chip and dtype is shown: a table states one state of the code.

usage: python -m r2n_kernels.benchmarks.gpu.table FOLDER [--markdown docs/gpu.md]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import R2NError
from ..material import SCOPES
from ..records import Record, read
from ..runs import grouped
from ..tables import markdown_table, put_between_marks
from .timings import EAGER

MARKS = ("<!-- gpu: begin -->", "<!-- gpu: end -->")


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0: done, or nothing to do; 2: a damaged record, or a file without marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"between {MARKS[0]} and end")
    args = parser.parse_args(argv)
    try:
        records = measured(args.folder)
        text = "\n".join(line for group in groups(records) for line in (*section(group), ""))
        if not records:
            print(f"{args.folder}: no records of a GPU, so there is no table")
        elif args.markdown:
            put_between_marks(args.markdown, text, MARKS)
        else:
            print(text)
    except R2NError as error:
        print(f"gpu: error: {error}", file=sys.stderr)
        return 2
    return 0


def measured(folder: Path) -> list[Record]:
    """Read whole networks on GPUs, oldest first. Raises RecordError for a damaged file."""
    files = sorted(path for path in folder.glob("*.jsonl") if path.stat().st_size)
    found = [record for path in files for record in read(path).records]
    ours = [r for r in found if r.machine.get("gpu") and r.scope == SCOPES[0]]
    return sorted(ours, key=lambda record: record.time)


def groups(records: Sequence[Record]) -> list[list[Record]]:
    """Group by model, chip, size and dtype, and keep the newest commit of each."""
    found = grouped(records, lambda r: (r.model, r.machine["gpu"], r.height, r.width, r.dtype))
    return [[r for r in group if r.commit == group[-1].commit] for group in found.values()]


def section(group: Sequence[Record]) -> list[str]:
    """Write what was measured where, and a table with a row per subject and a column per batch."""
    last, batches = group[-1], sorted({record.batch for record in group})
    cells = {(record.subject, record.batch): record for record in group}  # the latest of each
    rows = [["img/s", *(f"batch {batch}" for batch in batches)]]
    for subject in dict.fromkeys(record.subject for record in group):
        found = [(cells.get((subject, batch)), cells.get((EAGER, batch))) for batch in batches]
        rows.append([subject, *(cell(record, base) for record, base in found)])
    m = last.machine
    where = (
        f"{m['gpu']}, driver {m.get('driver')}, torch {m.get('torch')}, Triton {m.get('triton')}"
    )
    commit = f"{(last.commit or 'unknown')[:10]}{', changed' if last.dirty else ''}"
    what = f"{last.model}, {last.dtype}, {last.height}x{last.width}"
    return [
        f"{last.time[:10]}, {where}, commit {commit}: {what}. In brackets: over {EAGER}.",
        "", *markdown_table(rows),
    ]  # fmt: skip


def cell(record: Record | None, base: Record | None) -> str:
    if record is None:
        return "-"
    ratio = f" ({base.median / record.median:.2f}x)" if base else ""
    return f"{record.batch / record.median:,.0f}{ratio}"


if __name__ == "__main__":
    sys.exit(main())
