"""Records by what they timed and where, and the figures that the report takes from them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...errors import RecordError
from ..compare import key, machine_of
from ..records import Record

Key = TypeVar("Key", bound=Hashable)


class Setting(NamedTuple):
    """What the subjects of one chart have in common. batch: 0 for any."""

    model: str
    dtype: str
    height: int
    width: int
    scope: str
    machine: tuple[str, ...]
    batch: int = 0


class Peak(NamedTuple):
    flops: float
    bandwidth: float | None
    source: str


def setting(record: Record, batch: int = 0) -> Setting:
    return Setting(
        record.model, record.dtype, record.height, record.width, record.scope,
        machine_of(record), batch,
    )  # fmt: skip


def thing(record: Record) -> tuple:
    """What two records must share to be of the same thing on the same machine."""
    return key(record), machine_of(record)


def is_step(record: Record) -> bool:
    return record.scope == "step" or record.step is not None


def moment(record: Record) -> datetime.datetime:
    """When it was taken. Raises RecordError where its time is none."""
    try:
        found = datetime.datetime.fromisoformat(record.time.replace("Z", "+00:00"))
    except ValueError as error:
        raise RecordError(f"'time' of a record is not ISO 8601: {record.time!r}") from error
    if found.tzinfo is None:
        return found.replace(tzinfo=datetime.timezone.utc)
    return found.astimezone(datetime.timezone.utc)


def grouped(records: Iterable[Record], by: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """In the order of their first record."""
    found: dict[Key, list[Record]] = {}
    for record in records:
        found.setdefault(by(record), []).append(record)
    return found


def newest(records: Iterable[Record]) -> list[Record]:
    """The last of each thing by time, in the order in which the things first came."""
    return [max(reversed(same), key=moment) for same in grouped(records, thing).values()]


def labels(records: Sequence[Record]) -> dict[tuple[str, str, str], str]:
    """A name for each subject, layout and backend: the subject, and what else one chart needs."""
    backends, layouts = (
        {
            subject
            for (_, subject), same in grouped(records, lambda r: (setting(r), r.subject)).items()
            if len({getattr(record, name) for record in same}) > 1
        }
        for name in ("backend", "layout")
    )
    found = {}
    for subject, layout, backend in dict.fromkeys(map(series_of, records)):
        words = [subject, backend] if subject in backends else [subject]
        words += [layout] if subject in layouts else []
        found[subject, layout, backend] = ", ".join(words)
    return found


def series_of(record: Record) -> tuple[str, str, str]:
    return record.subject, record.layout, record.backend


def machine_letters(records: Iterable[Record]) -> dict[tuple[str, ...], str]:
    """A, B, ... Z, A1, B1, ... in the order of the records."""
    machines = dict.fromkeys(map(machine_of, records))
    return {
        machine: chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")
        for i, machine in enumerate(machines)
    }


def machine_name(record: Record) -> str:
    """In a few words: processor, and threads where it is the CPU's."""
    machine = record.machine
    if machine.get("gpu"):
        return str(machine["gpu"])
    threads = machine.get("threads")
    return f"{machine.get('cpu') or 'unknown processor'}" + f", {threads} threads" * bool(threads)


def median(record: Record) -> float:
    """Seconds a call: of the rounds' medians, as `r2n compare` takes it."""
    return record.median


def rate(record: Record) -> float:
    """Images a second."""
    return record.batch / median(record)


def quantile(record: Record, share: float) -> float:
    """Seconds that this share of all calls stays below; linear between two samples."""
    return float(np.quantile(record.seconds, share))


def flops(record: Record) -> float:
    """Achieved a second, two a multiply-accumulate."""
    return 2 * record.macs / median(record)


def intensity(record: Record) -> float | None:
    """Floating-point operations a byte; None without bytes, or without multiply-accumulates."""
    return 2 * record.macs / record.bytes if record.bytes and record.macs else None


def peak(record: Record) -> Peak | None:
    """None where the record has none that is usable."""
    stated = record.peak or {}
    if not _positive(stated.get("flops")):
        return None
    bandwidth = stated.get("bandwidth")
    source = str(stated.get("source") or "source unknown")
    return Peak(stated["flops"], bandwidth if _positive(bandwidth) else None, source)


def peak_share(record: Record) -> float | None:
    found = peak(record)
    return flops(record) / found.flops if found else None


def parity_use(record: Record) -> float | None:
    """Error over limit; None where the record does not state both."""
    error, limit = record.parity.get("error"), record.parity.get("limit")
    return error / limit if _number(error) and _positive(limit) else None


def worst_parity(records: Iterable[Record]) -> Record | None:
    """The one that used most of its limit."""
    stated = [record for record in records if parity_use(record) is not None]
    return max(stated, key=parity_use) if stated else None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0
