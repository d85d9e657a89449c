"""Records as tables, by words.Table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Record
from ..significance import Comparison
from . import data
from .data import flops, machine_of, median, rate, series_of, setting
from .drawing import Looks
from .history import History
from .words import (
    NOTHING,
    Table,
    amount,
    commit,
    day,
    heading,
    megabytes,
    milliseconds,
    percent,
    plain,
)  # fmt: skip

Letters = Mapping[tuple[str, ...], str]


def summary_table(title: str, records: Sequence[Record], looks: Looks) -> Table:
    """Of one setting."""
    rows = tuple(
        (
            looks[series_of(r)].label, str(r.batch), amount(rate(r)),
            *(milliseconds(data.quantile(r, share)) for share in (0.5, 0.9, 0.99)),
            str(len(r.seconds)), amount(r.macs / r.batch / 1e9), amount(r.macs / 1e9 / median(r)),
            percent(data.peak_share(r)), megabytes(r.memory), plain(r.backend),
            commit(r), day(r),
        )
        for r in sorted(records, key=lambda r: r.batch)
    )  # fmt: skip
    columns = (
        "subject", "batch", "img/s", "p50 ms", "p90 ms", "p99 ms", "calls", "GMACs/img", "GMAC/s",
        "of peak", "memory MB", "backend", "commit", "day",
    )  # fmt: skip
    return Table(title, columns, rows)


def throughput_table(records: Sequence[Record], looks: Looks) -> Table:
    ordered = sorted(records, key=lambda r: r.batch)
    rows = tuple(
        (looks[series_of(r)].label, commit(r), str(r.batch), amount(rate(r)),
         milliseconds(median(r)))
        for same in data.grouped(ordered, series_of).values() for r in same
    )  # fmt: skip
    return Table("Throughput", ("subject", "commit", "batch", "img/s", "median ms"), rows)


def changes_table(changes: Sequence[Comparison], looks: Looks, letters: Letters) -> Table:
    rows = tuple(
        (
            c.verdict, looks[series_of(c.new)].label, _what(c.new, letters), f"{c.ratio:.3f}",
            _interval(c), milliseconds(median(c.base)), milliseconds(median(c.new)),
            f"{commit(c.base)} to {commit(c.new)}", day(c.new), f"{c.p:.1e}", percent(c.floor),
        )
        for c in changes
    )  # fmt: skip
    columns = (
        "verdict", "subject", "what", "ratio", "95 % interval", "ms before", "ms after",
        "commits", "day", "p", "noise floor",
    )  # fmt: skip
    return Table("Changes that are more than noise, newest first", columns, rows)


def history_table(records: Sequence[Record], past: History, looks: Looks) -> Table:
    """records: by time."""
    rows = []
    for r in records:
        change = past.change_to(r)
        rows.append(
            (commit(r), plain(r.time), looks[series_of(r)].label,
             change.verdict if change else NOTHING, f"{change.ratio:.3f}" if change else NOTHING,
             _interval(change) if change else NOTHING, milliseconds(median(r)), amount(rate(r)))
        )  # fmt: skip
    columns = (
        "commit", "time", "subject", "against the one before", "ratio", "95 % interval",
        "median ms", "img/s",
    )  # fmt: skip
    return Table("History", columns, tuple(rows))


def roofline_table(records: Sequence[Record], looks: Looks) -> Table:
    rows = tuple(
        (plain(r.step), looks[series_of(r)].label, amount(data.intensity(r)),
         amount(flops(r) / 1e9), percent(data.peak_share(r)))
        for r in records
    )  # fmt: skip
    columns = ("step", "subject", "FLOP/byte", "GFLOP/s", "of peak")
    return Table("Arithmetic intensity and achieved FLOP/s", columns, rows)


def steps_table(records: Sequence[Record], order: Sequence[str | None], looks: Looks) -> Table:
    ordered = sorted(records, key=lambda r: order.index(r.step))
    totals = {
        series: sum(r.count * median(r) for r in same)
        for series, same in data.grouped(records, series_of).items()
    }
    rows = tuple(
        (plain(r.step), looks[series_of(r)].label, str(r.count), milliseconds(median(r)),
         milliseconds(r.count * median(r)),
         percent(r.count * median(r) / totals[series_of(r)]), amount(r.macs / 1e9 / median(r)))
        for r in ordered
    )  # fmt: skip
    columns = ("step", "subject", "count", "median ms", "ms in all", "of the sum", "GMAC/s")
    return Table("Time by step", columns, rows)


def _what(record: Record, letters: Letters) -> str:
    title = heading(setting(record, record.batch), letters[machine_of(record)])
    return f"{plain(record.step)} of {title}" if record.step else title


def _interval(change: Comparison) -> str:
    return "{:.3f} to {:.3f}".format(*change.interval)
