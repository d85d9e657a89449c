"""From records to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ConfigError
from ...files import replace_bytes
from ..records import Record
from .history import history
from .words import file_names, plain

TITLE = "Res2Net benchmark report"


@dataclass(frozen=True)
class Built:
    """html: the page; pngs: its charts, by file name, where they were asked for."""

    html: str
    charts: int
    regressions: int
    pngs: dict[str, bytes] = field(default_factory=dict)


def build(records: Sequence[Record], sources: Sequence[str], *, pngs: bool = False) -> Built:
    """sources: names of the files that the records are from.

    Raises ConfigError where matplotlib is not installed, or scipy with something to judge, and
    RecordError for a time that is none.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("charts need matplotlib: pip install 'r2n_kernels[report]'") from error
    from .page import page
    from .sections import sections
    from .svg import drawing, png

    past = history(records)
    text = (
        f"Measured data only: every figure here comes from records in "
        f"{', '.join(map(plain, sources))}, {len(records)} in all. Nothing is predicted.",
    )
    with drawing():
        found = sections(records, past)
        charts = [chart for section in found for chart in section.charts]
        html = page(TITLE, text, found)
        stems = file_names([f"{chart.kind}-{chart.title}" for chart in charts])
        images = {
            f"{stem}.png": png(chart.figure, (chart.title, chart.note))
            for stem, chart in zip(stems, charts, strict=True)
            if pngs
        }
    regressions = sum(change.verdict == "regression" for change in past.changes)
    return Built(html, len(charts), regressions, images)


def write(path: Path, content: bytes) -> None:
    """The whole file or, on an error, what was there before. Raises ConfigError."""
    if path.is_dir():
        raise ConfigError(f"cannot write {str(path)!r}: it is a folder")
    try:
        replace_bytes(path, content)
    except OSError as error:
        raise ConfigError(f"cannot write {str(path)!r}: {error.strerror}") from error
