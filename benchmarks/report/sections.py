"""What the page shows, in its order. Call inside svg.drawing()."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...config import HEADLINE
from ..records import Record
from ..significance import ALPHA, MIN_ROUNDS, VERDICTS
from ..tables import CARD
from . import charts, data
from .data import Setting, grouped, is_step, moment, setting
from .drawing import Looks, looks_of
from .environment import environment
from .history import History, slots
from .page import Chart, Section
from .tables import (
    Letters,
    changes_table,
    history_table,
    roofline_table,
    steps_table,
    summary_table,
    throughput_table,
)
from .words import heading, plain


def sections(records: Sequence[Record], past: History) -> list[Section]:
    """Those for which there are records."""
    looks = looks_of(records)
    letters = data.machine_letters(records)
    networks = [record for record in records if not is_step(record)]
    steps = [record for record in records if is_step(record)]
    found = [_summary(networks, looks, letters)] if networks else []
    found += [_throughput(networks, looks, letters)] if networks else []
    found += [_history(records, past, looks, letters)]
    found += [_rooflines(steps, looks, letters), _steps(steps, looks, letters)] if steps else []
    return [*found, environment(records, letters)]


def _summary(networks: Sequence[Record], looks: Looks, letters: Letters) -> Section:
    text = [
        "The newest record of each thing; of the network alone, unless a title says otherwise. "
        "img/s and GMAC/s are of the median of the rounds' medians; p50, p90 and p99 are of all "
        "calls, so with few calls p99 is about the slowest. Share of peak: achieved FLOP/s, two a "
        "multiply-accumulate, over what the record says the device can do. Memory: the peak that "
        "the subject added."
    ]
    if any(record.model.partition(".")[0] == HEADLINE for record in networks):
        card = f"{CARD['parameters']} parameters, {CARD['MACs']}MACs, {CARD['activations']}"
        text.append(
            f"The model card of {HEADLINE} says, of one image of 224x224: {card} activations. "
            "GMACs an image in the table are what the records state."
        )
    tables = tuple(
        summary_table(f"{heading(where, letters[where.machine])}: {_place(same[0])}", same, looks)
        for where, same in grouped(data.newest(networks), setting).items()
    )
    return Section("Summary", tuple(text), tables)


def _throughput(networks: Sequence[Record], looks: Looks, letters: Letters) -> Section:
    found = [
        Chart(
            "throughput", heading(where, letters[where.machine]), _place(same[0]),
            charts.throughput(same, looks), throughput_table(same, looks),
        )
        for where, same in grouped(data.newest(networks), setting).items()
    ]  # fmt: skip
    text = "Images a second against batch size, of the newest record of each. Higher is better."
    return Section("Throughput", (text,), charts=tuple(found))


def _history(records: Sequence[Record], past: History, looks: Looks, letters: Letters) -> Section:
    counts = {name: sum(c.verdict == name for c in past.judged.values()) for name in VERDICTS}
    text = [
        f"Regressions: {counts['regression']}; improvements: {counts['improvement']}; same: "
        f"{counts['same']}; not judged, because one side has fewer than {MIN_ROUNDS} rounds: "
        f"{past.unjudged}.",
        "The records of one commit are judged against those before them of the same thing on the "
        f"same machine, as r2n compare does: a change has p below {ALPHA} by Mann-Whitney's U "
        "test, and an interval of its ratio of medians beyond the noise of the same code against "
        "itself. A ratio above 1 is slower.",
    ]
    if not past.runs:
        text = ["Nothing was recorded twice on one machine, so there is no history yet."]
    changes = past.changes
    tables = (changes_table(changes, looks, letters),) if changes else ()
    found = tuple(_histories(past, looks, letters))
    if found:
        text.append(
            "The vertical axes do not start at zero. A + after a commit: the work tree was "
            "changed. Steps have no chart here; their changes are in the table."
        )
    return Section("History", tuple(text), tables, found)


def _histories(past: History, looks: Looks, letters: Letters) -> Iterator[Chart]:
    networks = [record for run in past.runs for record in run if not is_step(record)]
    for where, same in grouped(networks, lambda r: setting(r, r.batch)).items():
        title = heading(where, letters[where.machine])
        rows = [record for slot in slots(same) for record in slot]
        yield Chart(
            "history", title, _place(same[0]), charts.over_time(slots(same), past, looks),
            history_table(rows, past, looks),
        )  # fmt: skip


def _rooflines(steps: Sequence[Record], looks: Looks, letters: Letters) -> Section:
    text = [
        "What each step achieves against what the device can do. Below the slope a step waits for "
        "memory, below the level line for arithmetic. A larger mark is a larger share of its "
        "subject's time. Bytes are the plan's, which a cache may spare, and a measured peak is of "
        "one product, convolution and copy: points may lie above the lines."
    ]
    found = []
    for where, same in _by_forward(steps):
        title = heading(where, letters[where.machine])
        drawn = [r for r in same if _has_roofline(r)]
        if not drawn:
            lacking = "peak" if any(data.intensity(r) for r in same) else "bytes"
            text.append(f"{title}: no roofline, because the records do not state '{lacking}'.")
            continue
        peak = data.peak(max(drawn, key=moment))
        note = f"{_place(same[0])}. Peak: {peak.source}."
        if peak.bandwidth is None:
            note += " The records do not state its bandwidth, so there is no slope."
        if len(drawn) < len(same):
            others = ", ".join(dict.fromkeys(plain(r.step) for r in same if not _has_roofline(r)))
            note += f" Not drawn, without multiply-accumulates, bytes or peak: {others}."
        figure = charts.roofline(drawn, peak, looks)
        found.append(Chart("roofline", title, note, figure, roofline_table(same, looks)))
    return Section("Roofline of the steps", tuple(text), charts=tuple(found))


def _has_roofline(record: Record) -> bool:
    return data.intensity(record) is not None and data.peak(record) is not None


def _steps(steps: Sequence[Record], looks: Looks, letters: Letters) -> Section:
    found = []
    for where, same in _by_forward(steps):
        order = list(dict.fromkeys(record.step for record in same))
        note = f"{_place(same[0])}. ×N: so many steps are like it, and count here together."
        found.append(
            Chart(
                "steps", heading(where, letters[where.machine]), note,
                charts.step_times(same, order, looks), steps_table(same, order, looks),
            )
        )  # fmt: skip
    text = (
        "Where the time of one forward pass goes: the median of a step, times how many are like "
        "it, in the order of the network. Steps are timed one by one, so their sum is not the "
        "time of the whole network.",
    )
    return Section("Time by step", text, charts=tuple(found))


def _by_forward(steps: Sequence[Record]) -> list[tuple[Setting, list[Record]]]:
    """Newest records, by all that a forward pass has in common."""
    return list(grouped(data.newest(steps), lambda r: setting(r, r.batch)).items())


def _place(record: Record) -> str:
    return plain(data.machine_name(record))
