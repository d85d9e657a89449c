"""The README's picture is drawn from the tables that `r2n bench --markdown` wrote into a page.

usage: python -m r2n_kernels.benchmarks.picture [docs/benchmarks.md] [docs/throughput.svg]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ..errors import ConfigError
from ..files import replace_text

OURS = "r2n_kernels"  # subjects of this project begin so
WIDTH, NAMES, LINE, HEAD = 760, 265, 24, 44  # pixels: the picture, its names, a bar, a title
LONGEST = WIDTH - NAMES - 80  # pixels of the longest bar; the rest is for its figure
STYLE = """text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .note { font-size: 12px }
.peer { fill: #8c959f } .ours { fill: #0969da } .strong { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .peer { fill: #6e7681 } .ours { fill: #4493f8 }
}"""


@dataclass(frozen=True)
class Group:
    """A Group is one table: its title, and images per second by subject."""

    title: str
    rates: Sequence[tuple[str, float]]


def read(page: str) -> tuple[str, list[Group]]:
    """Return what the tables were measured on, and their rates.

    Raises ConfigError for a page without tables between r2n bench's marks.
    """
    part = re.search(r"<!-- r2n bench: begin -->\n(.*?)<!-- r2n bench: end -->", page, re.DOTALL)
    tables = re.findall(r"^(\w+, batch \d+, \S+), .*?\n\n(\|.*?\n)\n", part[1] if part else "",
                        re.DOTALL | re.MULTILINE)  # fmt: skip
    if part is None or not tables:
        raise ConfigError("expected tables of r2n bench --markdown between its marks, found none")
    return part[1].partition("\n")[0].rstrip("."), [Group(t, _rates(rows)) for t, rows in tables]


def _rates(table: str) -> list[tuple[str, float]]:
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines()[2:]]
    return sorted(((name, float(rate)) for name, rate in rows), key=lambda row: row[1])


def draw(machine: str, groups: Sequence[Group]) -> str:
    """Return the picture as SVG: a bar per subject, slowest first, this project in colour."""
    parts, y = [], 20
    for group in groups:
        parts.append(f'<text class="title" x="8" y="{y}">{escape(group.title)}, img/s</text>')
        fastest = max(rate for _, rate in group.rates)
        for name, rate in group.rates:
            y += LINE
            kind, weight = ("ours", "strong") if name.startswith(OURS) else ("peer", "")
            width = LONGEST * rate / fastest
            parts += (
                f'<text class="{weight}" x="8" y="{y}">{escape(name)}</text>',
                f'<rect class="{kind}" x="{NAMES}" y="{y - 13}" width="{width:.0f}" height="16"/>',
                f'<text class="{weight}" x="{NAMES + width + 8:.0f}" y="{y}">{rate:.2f}</text>',
            )
        y += HEAD
    note = f"Measured in turns with random weights: {machine}."
    parts.append(f'<text class="note" x="8" y="{y - 16}">{escape(note)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def main(words: Sequence[str]) -> int:
    """Draw the picture of a page; both paths may be given."""
    page, picture = [*words, *("docs/benchmarks.md", "docs/throughput.svg")[len(words) :]]
    replace_text(Path(picture), draw(*read(Path(page).read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
