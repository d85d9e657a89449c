"""Records become files: the page by Jinja2, from page.html and style.css, and the PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...config import HEADLINE
from ...errors import ConfigError
from ...files import replace_bytes
from ..records import Record
from ..significance import ALPHA, FLOOR, MIN_RUNS
from ..tables import CARD
from .data import history, rate
from .links import Links
from .text import amount, file_names, plain
from .writer import NUMBERS

NO_LINKS = Links()
FOLDED = 12  # longer tables are shown when asked for


@dataclass(frozen=True)
class Built:
    """A Built has html: the page; pngs: its charts, by file name, where they were asked for."""

    html: str
    charts: int
    regressions: int
    pngs: dict[str, bytes] = field(default_factory=dict)


def build(
    records: Sequence[Record], sources: Sequence[str], links: Links = NO_LINKS, *,
    pngs: bool = False,
) -> Built:  # fmt: skip
    """Make the page of records. sources: names of the files that they come from.

    Raises ConfigError where matplotlib or Jinja2 is not installed, or scipy with something to
    judge, and RecordError for a time that is no time.
    """
    for what, package in (("charts need", "matplotlib"), ("the page needs", "jinja2")):
        if find_spec(package) is None:
            raise ConfigError(f"{what} {package}: pip install 'r2n_kernels[report]'")
    from .drawing import HALF, PHONE
    from .headline import headline
    from .sections import Sections
    from .svg import LIGHT, inline, png, settings

    past = history(records)
    with settings():
        page = Sections(records, past, links)
        sections = list(page.all())
        html = render(
            "page.html", sections=sections, count=len(records), sources=map(plain, sources),
            headline=headline(page.besides, page.names), names=page.names, links=links,
            HEADLINE=HEADLINE, CARD=CARD, ALPHA=ALPHA, FLOOR=FLOOR, MIN_RUNS=MIN_RUNS,
            NUMBERS=NUMBERS, LIGHT=LIGHT, PHONE=PHONE, HALF=HALF, FOLDED=FOLDED, inline=inline,
            amount=amount, rate=rate,
        )  # fmt: skip
        charts = [chart for section in sections for chart in section.charts]
        stems = file_names([f"{chart.kind}-{chart.title}" for chart in charts])
        images = {
            f"{stem}.png": png(chart.draw(PHONE), (chart.title, chart.note))
            for stem, chart in zip(stems, charts, strict=True)
            if pngs
        }
    return Built(html, len(charts), past.count("regression"), images)


def render(template: str, **words: Any) -> str:
    """Fill in a template that lies beside this file. In HTML every word is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return templates.get_template(template).render(words)


def write(path: Path, content: bytes) -> None:
    """Write the whole file or, on an error, leave what was there. Raises ConfigError."""
    try:
        replace_bytes(path, content)
    except OSError as error:
        raise ConfigError(f"cannot write {str(path)!r}: {error.strerror}") from error
