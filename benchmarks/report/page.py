"""Sections as one HTML page that asks for nothing else: no script, no font, no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from .style import css
from .svg import inline
from .words import NUMBERS, Table

# No script may run, whatever a record says; the style of the page itself may.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LONG = 32  # letters of a cell that may take several lines
VERDICTS = {"regression": ("bad", "▲ "), "improvement": ("good", "▼ ")}


@dataclass(frozen=True)
class Chart:
    """kind: the first word of its file's name; table: what it shows, as numbers."""

    kind: str
    title: str
    note: str
    figure: Figure
    table: Table


@dataclass(frozen=True)
class Section:
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()


def page(title: str, text: Sequence[str], sections: Sequence[Section]) -> str:
    anchors = [f"section-{i}" for i in range(1, len(sections) + 1)]
    links = "".join(
        f'<li><a href="#{anchor}">{escape(section.title)}</a></li>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    body = "\n".join(map(_section, anchors, sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{css()}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{_paragraphs(text)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _section(anchor: str, section: Section) -> str:
    tables = "\n".join(map(_table, section.tables))
    charts = "\n".join(
        _figure(f"{anchor}-{i}-", chart) for i, chart in enumerate(section.charts, 1)
    )
    charts = f'<div class="charts">\n{charts}\n</div>' if charts else ""
    return f"""<section id="{anchor}" aria-labelledby="{anchor}-title">
<h2 id="{anchor}-title">{escape(section.title)}</h2>
{_paragraphs(section.text)}
{tables}
{charts}
</section>"""


def _figure(prefix: str, chart: Chart) -> str:
    label = f"{chart.title}. {chart.note} The numbers are in the table below it."
    return f"""<figure>
<figcaption><h3>{escape(chart.title)}</h3><p>{escape(chart.note)}</p></figcaption>
{inline(chart.figure, prefix, label)}
<details><summary>Data of this chart</summary>
{_table(chart.table)}
</details>
</figure>"""


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_kind(name, "")}>{escape(name)}</th>' for name in table.columns
    )
    rows = "\n".join(f"<tr>{_row(table, row)}</tr>" for row in table.rows)
    caption = escape(table.caption)
    return f"""<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table>
<caption><span>{caption}</span></caption>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def _row(table: Table, row: Sequence[str]) -> str:
    first, *others = row
    cells = (
        f"<td{_kind(name, value)}>{_cell(value)}</td>"
        for name, value in zip(table.columns[1:], others, strict=True)
    )
    return f'<th scope="row">{_cell(first)}</th>{"".join(cells)}'


def _kind(column: str, value: str) -> str:
    if column in NUMBERS:
        return ' class="number"'
    return ' class="long"' if len(value) > LONG else ""


def _cell(value: str) -> str:
    if value in VERDICTS:
        colour, mark = VERDICTS[value]
        return f'<span class="{colour}">{mark}{value}</span>'
    return escape(value)


def _paragraphs(text: Sequence[str]) -> str:
    return "\n".join(f"<p>{escape(words)}</p>" for words in text)
