"""This file draws the four charts, `width` pixels wide. Call them inside svg.settings()."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ...text import short
from ..records import Record
from ..runs import grouped
from . import drawing
from .data import CHANGES, Peak, flops, intensity, rate, series_of, total
from .drawing import LONGEST, Looks, mark_changes, name_axis, number_axis, spaced, widen
from .svg import LIGHT, tip
from .text import amount, plain
from .timeline import Timeline

ROOM = 76  # pixels that a name along a history needs


def throughput(records: Sequence[Record], looks: Looks, width: int) -> Figure:
    """Draw images per second against batch size."""
    by_series = grouped(sorted(records, key=lambda r: r.batch), series_of)
    figure = drawing.empty_figure(width, 250, len(by_series))
    axes = figure.add_subplot()
    for series, same in by_series.items():
        drawing.line(axes, [r.batch for r in same], [rate(r) for r in same], looks[series])
    batches = sorted({r.batch for r in records})
    axes.set_xscale("log", base=2)
    axes.set_xlim(batches[0] / 1.3, batches[-1] * 1.3)
    name_axis(axes.xaxis, batches, spaced(batches))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    number_axis(axes.yaxis)
    axes.set(xlabel="batch size (logarithmic)", ylabel="img/s")
    drawing.legend(figure, axes)
    return figure


def over_time(line: Timeline, looks: Looks, width: int) -> Figure:
    """Draw a timeline, and mark what is more than noise."""
    by_series = grouped(line.points, lambda point: series_of(point.record))
    marked = [point for point in line.points if point.verdict in CHANGES]
    figure = drawing.empty_figure(width, 270, len(by_series) + len({p.verdict for p in marked}))
    axes = figure.add_subplot()
    for series, same in by_series.items():
        look = looks[series]
        drawing.line(axes, [p.slot for p in same], [p.value for p in same], look)
        for p in same:
            drawing.spot(axes, p.slot, p.value, look, p.told, p.url)
    if line.level is not None:
        axes.axhline(line.level, color=LIGHT["ink"], linewidth=1.2, linestyle=(0, (4, 3)))
    mark_changes(axes, marked)
    widen(axes, [p.value for p in line.points] + [line.level or line.points[0].value])
    number_axis(axes.yaxis)
    axes.set_ylabel(line.unit)
    every = -(-len(line.names) // max(1, width // ROOM))
    last = len(line.names) - 1
    names = [name if (last - i) % every == 0 else "" for i, name in enumerate(line.names)]
    name_axis(axes.xaxis, range(len(names)), names)
    axes.set_xlim(-0.4, last + 0.4)
    drawing.legend(figure, axes)
    return figure


def roofline(records: Sequence[Record], peak: Peak, looks: Looks, width: int) -> Figure:
    """Draw achieved FLOP/s of steps that state bytes. A point's area is its share of the time."""
    by_series = grouped(records, series_of)
    figure = drawing.empty_figure(width, 310, len(by_series) + 1)
    axes = figure.add_subplot()
    scale, unit = (1e12, "TFLOP/s") if peak.flops >= 1e13 else (1e9, "GFLOP/s")
    x = [_depth(r) for r in records]
    y = [flops(r) / scale for r in records]
    top = peak.flops / scale
    # Where the slope meets the ceiling: with more operations a byte, memory is no limit.
    ridge = peak.flops / peak.bandwidth if peak.bandwidth else None
    knees = [ridge] if ridge else []
    left, right = min(x + knees) / 3, max(x + knees) * 3
    axes.set(xscale="log", yscale="log")
    axes.set(xlim=(left, right), ylim=(min(y) / 3, max([*y, top]) * 2))
    label = f"peak: {_level(top)} {unit}"
    label += f", {_level(peak.bandwidth / 1e9)} GB/s" if peak.bandwidth else ""
    roof = [(left, left / ridge * top), (ridge, top)] if ridge else [(left, top)]
    axes.plot(*zip(*roof, (right, top), strict=True), color=LIGHT["ink"], lw=1.3, label=label)
    for series, same in by_series.items():
        look = looks[series]
        spent = sum(map(total, same))
        for i, r in enumerate(same):
            achieved = flops(r) / scale
            axes.plot(
                _depth(r), achieved, look.marker, color=look.colour, alpha=0.8,
                markersize=(24 + 500 * total(r) / spent) ** 0.5, markeredgewidth=0.8,
                markeredgecolor=LIGHT["page"], label="" if i else short(look.label, LONGEST),
                gid=tip(f"{r.step}, {look.label}: {_level(achieved)} {unit}"),
            )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        subs = (1,) if high / low > 100 else (1, 2, 5)  # two ticks at least
        axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
        axis.set_minor_locator(NullLocator())
        number_axis(axis)
    axes.set(xlabel="arithmetic intensity (FLOP/byte)", ylabel=f"achieved {unit}")
    drawing.legend(figure, axes)
    return figure


def step_times(records: Sequence[Record], looks: Looks, width: int) -> Figure:
    """Draw what each step adds to a forward pass, the subjects side by side."""
    order = list(dict.fromkeys(record.step for record in records))
    by_series = grouped(records, series_of)
    thick, gap = (9, 9) if len(by_series) > 1 else (12, 8)
    row = thick * len(by_series) + gap
    figure = drawing.empty_figure(width, 90 + row * len(order), len(by_series))
    axes = figure.add_subplot()
    for i, (series, same) in enumerate(by_series.items()):
        look = looks[series]
        spent = {r.step: total(r) * 1e3 for r in same}
        places = [
            order.index(step) + (i - (len(by_series) - 1) / 2) * thick / row for step in spent
        ]
        label = f"{short(look.label, LONGEST)}: {amount(sum(spent.values()))} ms"
        bars = axes.barh(places, list(spent.values()), thick / row, color=look.colour,
                         edgecolor=LIGHT["page"], linewidth=0.6, label=label)  # fmt: skip
        for bar, (step, value) in zip(bars, spent.items(), strict=True):
            bar.set_gid(tip(f"{step}, {look.label}: {amount(value)} ms"))
    counts = {r.step: r.count for r in records}
    axes.set_ylim(len(order) - 0.4, -0.6)
    names = [short(plain(s), 24) + (f" ×{counts[s]}" if counts[s] > 1 else "") for s in order]
    name_axis(axes.yaxis, range(len(order)), names)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.tick_params(axis="x", labeltop=len(order) > 12)
    number_axis(axes.xaxis)
    axes.set_xlabel("ms in one forward pass")
    drawing.legend(figure, axes)
    return figure


def _depth(record: Record) -> float:
    """Return the intensity of a record that has a roofline, which is never None."""
    return intensity(record) or math.nan


def _level(value: float) -> str:
    """Write a ceiling without zeros that say nothing."""
    text = amount(value)
    return text.rstrip("0").rstrip(".") if "." in text else text
