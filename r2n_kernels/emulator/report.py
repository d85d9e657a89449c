"""A report shows what launches did, beside the lines of Python that did it, as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from .counters import SECTOR, Counters, Work, merge
from .lines import source_paths
from .page import SHELL

LIBRARY = ("/triton/language/", "/triton/experimental/", "/triton/tools/")  # its lines are Triton's
AROUND = 2  # lines that are shown before and after those that ran
COLUMNS = ("instr", "MACs", "global B", "sectors", "useful", "shared B", "conflicts")


@dataclass(frozen=True)
class Section:
    """A Section is a kernel, by its PTX, and what its launches counted, merged."""

    title: str
    ptx: str
    counters: Counters


def report(launches: Iterable[Any], path: str | Path | None = None) -> str:
    """Return the page of some launches, as emulator(...).launches has them, and write it to `path`.

    A launch has `name`, `kernel` and `counters`; those of one kernel are shown as one.
    """
    found: dict[tuple[str, str], list[Counters]] = {}
    for launch in launches:
        found.setdefault((launch.name, launch.kernel.ptx), []).append(launch.counters)
    sections = [
        Section(name if len(every) == 1 else f"{name}, {len(every)} launches", ptx, merge(every))
        for (name, ptx), every in found.items()
    ]
    text = page(sections)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def page(sections: Sequence[Section], title: str = "Launches in the emulator") -> str:
    """Return a self-contained page: no script, nothing from the network."""
    body = "".join(map(_section, sections)) or "<p>Nothing was launched.</p>"
    return SHELL.replace("@TITLE@", escape(title)).replace("@BODY@", body)


def by_line(section: Section) -> dict[str, dict[int, Work]]:
    """Return work by file and line; what Triton's own library did belongs to the line that called.

    The figures of all lines add up to the section's counters. A file is a path where the PTX has
    it; line 0 stands for instructions that no line is known of.
    """
    paths = source_paths(section.ptx)
    found: dict[str, dict[int, Work]] = {}
    for source, work in section.counters.lines.items():
        places = [_place(text, paths) for text in source.split(" from ")]
        path, line = places[0]
        if any(part in path for part in LIBRARY) and len(places) > 1:
            path, line = places[1]
        found.setdefault(path, {}).setdefault(line, Work()).include(work)
    return found


def _place(source: str, paths: dict[str, str]) -> tuple[str, int]:
    name, _, line = source.rpartition(":")
    return (paths.get(name, name), int(line)) if line.isdecimal() else (source, 0)


def figures(work: Work) -> tuple[int, int, int, int, float | None, int, int]:
    """Return a line's numbers, as COLUMNS has them; no useful share where nothing was moved."""
    traffic, shared = work.global_.values(), work.shared.values()
    sectors = sum(t.sectors for t in traffic)
    useful = sum(t.useful for t in traffic) / (SECTOR * sectors) if sectors else None
    return (
        work.instructions.total(), work.macs, sum(t.bytes for t in traffic), sectors, useful,
        sum(t.bytes for t in shared), sum(t.conflicts for t in shared),
    )  # fmt: skip


def _section(section: Section) -> str:
    counters = section.counters
    words = [f"<h2>{escape(section.title)}</h2>", _table([_row("", "total", counters, 1.0)])]
    words += [f'<p class="bad">{escape(str(one))}</p>' for one in counters.reports[:20]]
    every = by_line(section)
    top = max((w.instructions.total() for f in every.values() for w in f.values()), default=1)
    for path, lines in sorted(every.items(), key=lambda item: any(p in item[0] for p in LIBRARY)):
        words.append(f"<h3>{escape(path)}</h3>")
        words.append(_table(_source_rows(path, lines, top)))
    return f"<section>{''.join(words)}</section>"


def _source_rows(path: str, lines: dict[int, Work], top: int) -> list[str]:
    """Return rows of the lines that ran and of those around them, gaps left out."""
    file = Path(path)
    text = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    shown = {n for line in lines for n in range(line - AROUND, line + AROUND + 1)}
    shown = {n for n in shown if 1 <= n <= len(text)} | set(lines)
    rows, before = [], None
    for n in sorted(shown):
        if before is not None and n > before + 1:
            rows.append(f'<tr class="gap"><td colspan="{2 + len(COLUMNS)}">…</td></tr>')
        code = (
            text[n - 1] if 0 < n <= len(text) else "(no line)" if n == 0 else "(source not found)"
        )
        work = lines.get(n)
        rows.append(_row(str(n), code, work, work.instructions.total() / top if work else 0.0))
        before = n
    return rows


def _row(number: str, code: str, work: Work | None, share: float) -> str:
    cells = [f"<th>{number}</th>", f'<td class="code">{escape(code) or "&nbsp;"}</td>']
    for i, (name, value) in enumerate(zip(COLUMNS, figures(work) if work else (), strict=False)):
        text = f"{value:.0%}" if isinstance(value, float) else f"{value:,}" if value else ""
        style = f' style="--share:{share:.3f}" class="heat"' if i == 0 else ""
        cells.append(f'<td data-name="{name}"{style}>{text}</td>')
    cells += [] if work else ["<td></td>"] * len(COLUMNS)
    kind = "" if work else ' class="idle"'
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _table(rows: Sequence[str]) -> str:
    heads = "".join(f"<th>{name}</th>" for name in COLUMNS)
    head = f'<thead><tr><th></th><th class="code"></th>{heads}</tr></thead>'
    return f'<div class="wide"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
