"""Numbers and names as the report writes them."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Record
from .data import Setting, moment

NOTHING = "–"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
LONGEST = 42  # letters of a name that a chart has room for
LONGEST_FILE = 150


# Columns of numbers; all others hold text.
NUMBERS = frozenset(
    (
        "batch", "img/s", "p50 ms", "p90 ms", "p99 ms", "calls", "GMACs/img", "GMAC/s", "of peak",
        "memory MB", "median ms", "ratio", "95 % interval", "ms before", "ms after", "p",
        "noise floor", "FLOP/byte", "GFLOP/s", "count", "ms in all", "of the sum", "records",
        "worst parity error", "its limit", "used",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def amount(value: float | None) -> str:
    """Four digits, three of small numbers."""
    if value is None:
        return NOTHING
    for least, digits in ((1000, 0), (100, 1), (10, 2), (1, 3)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def level(value: float) -> str:
    """Without zeros that say nothing."""
    text = amount(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def tick(value: float) -> str:
    """As short as an axis wants it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}".replace("%", " %")


def milliseconds(seconds: float) -> str:
    return amount(seconds * 1e3)


def megabytes(count: int | None) -> str:
    return NOTHING if count is None else amount(count / 1e6)


def plain(value: object) -> str:
    """On one line: what cannot be shown, or would change how text runs, becomes a sign."""
    text = NOTHING if value is None else str(value)
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
                   for c in text)  # fmt: skip


def short(text: str, longest: int = LONGEST) -> str:
    """The middle left out where it is too long."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[: half - 1]}…{text[-half:]}"


def commit(record: Record, letters: int = 7) -> str:
    """Its first letters, and a + where the work tree was changed."""
    name = plain(record.commit)[:letters] if record.commit else "no commit"
    return name + "+" * record.dirty


def day(record: Record) -> str:
    return f"{moment(record):%Y-%m-%d}"


def short_day(time: datetime.datetime) -> str:
    return f"{time.day} {MONTHS[time.month - 1]}"


def pixels(height: int, width: int) -> str:
    return f"{height}x{width}"


def heading(what: Setting, letter: str) -> str:
    """The title of a chart: what its subjects have in common."""
    words = [what.model, what.dtype, pixels(what.height, what.width)]
    words += [f"batch {what.batch}"] if what.batch else []
    words += [what.scope] if what.scope not in ("model", "step") else []
    return plain(", ".join([*words, f"machine {letter}"]))


def file_names(stems: Sequence[str]) -> list[str]:
    """Of letters that every system takes, each once."""
    found: list[str] = []
    for stem in stems:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.").lower()[:LONGEST_FILE]
        again = (f"{base}-{number}" for number in itertools.count(2))
        found.append(next(name for name in itertools.chain([base], again) if name not in found))
    return found
