"""The four charts, narrow enough to be read on a phone. Call inside svg.drawing()."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from ..records import Record
from .data import Peak, flops, grouped, intensity, median, moment, rate, series_of
from .drawing import (
    Looks,
    draw_legend,
    draw_line,
    empty_figure,
    mark_changes,
    spaced,
    widen,
)
from .history import History
from .style import LIGHT
from .svg import tip
from .words import amount, commit, level, plain, short, short_day, tick

LABELLED = 5  # places along a history that have room for a name


def throughput(records: Iterable[Record], looks: Looks) -> Figure:
    """Images a second against batch size."""
    by_series = grouped(sorted(records, key=lambda r: r.batch), series_of)
    figure = empty_figure(250, len(by_series))
    axes = figure.add_subplot()
    for series, same in by_series.items():
        draw_line(axes, [r.batch for r in same], [rate(r) for r in same], looks[series])
    batches = sorted({r.batch for same in by_series.values() for r in same})
    axes.set_xscale("log", base=2)
    axes.set_xlim(batches[0] / 1.3, batches[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(batches))
    axes.xaxis.set_major_formatter(FixedFormatter(spaced(batches)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("batch size (logarithmic)")
    axes.set_ylabel("img/s")
    draw_legend(figure, axes)
    return figure


def over_time(slots: Sequence[Sequence[Record]], past: History, looks: Looks) -> Figure:
    """Milliseconds a batch and images a second, with the changes that are more than noise."""
    placed = [(x, record) for x, slot in enumerate(slots) for record in slot]
    by_series = grouped((record for _, record in placed), series_of)
    changes = [(x, r, change) for x, r in placed if (change := past.change_to(r))]
    changes = [(x, r, change) for x, r, change in changes if change.verdict != "same"]
    figure = empty_figure(400, len(by_series) + len({c.verdict for *_, c in changes}))
    times, rates = figure.subplots(2, sharex=True)
    panels = (
        (times, lambda r: median(r) * 1e3, "ms a batch", "regression"),
        (rates, rate, "img/s", "improvement"),
    )
    for axes, value, name, upwards in panels:
        for series, look in looks.items():
            mine = [(x, value(r)) for x, r in placed if series_of(r) == series]
            if mine:
                draw_line(axes, *zip(*mine, strict=True), look)
        mark_changes(axes, [(x, value(r), c.verdict, c.ratio) for x, r, c in changes], upwards)
        widen(axes, [value(r) for _, r in placed])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        axes.set_ylabel(name)
    names = [f"{commit(slot[0])}\n{short_day(moment(slot[0]))}" for slot in slots]
    every = -(-len(names) // LABELLED)
    names = [name if (len(names) - 1 - i) % every == 0 else "" for i, name in enumerate(names)]
    rates.xaxis.set_major_locator(FixedLocator(range(len(slots))))
    rates.xaxis.set_major_formatter(FixedFormatter(names))
    rates.set_xlim(-0.4, len(slots) - 0.6)
    draw_legend(figure, times)
    return figure


def roofline(records: Sequence[Record], peak: Peak, looks: Looks) -> Figure:
    """Achieved FLOP/s of steps that state their bytes. A point's area is its share of the time."""
    by_series = grouped(records, series_of)
    figure = empty_figure(310, len(by_series) + 1)
    axes = figure.add_subplot()
    scale, unit = (1e12, "TFLOP/s") if peak.flops >= 1e13 else (1e9, "GFLOP/s")
    x = [intensity(r) for r in records]
    y = [flops(r) / scale for r in records]
    top = peak.flops / scale
    # Where the slope meets the ceiling: with more operations a byte, memory is no limit.
    ridge = peak.flops / peak.bandwidth if peak.bandwidth else None
    knees = [ridge] if ridge else []
    left, right = min(x + knees) / 3, max(x + knees) * 3
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(min(y) / 3, max([*y, top]) * 2)
    label = f"peak: {level(top)} {unit}"
    label += f", {level(peak.bandwidth / 1e9)} GB/s" if ridge else ""
    roof = [(left, left / ridge * top), (ridge, top)] if ridge else [(left, top)]
    axes.plot(*zip(*roof, (right, top), strict=True), color=LIGHT["ink"], lw=1.3, label=label)
    for series, same in by_series.items():
        look = looks[series]
        total = sum(r.count * median(r) for r in same)
        for i, r in enumerate(same):
            achieved = flops(r) / scale
            axes.plot(
                intensity(r), achieved, look.marker, color=look.colour, alpha=0.8,
                markersize=(24 + 500 * r.count * median(r) / total) ** 0.5, markeredgewidth=0.8,
                markeredgecolor=LIGHT["page"], label="" if i else short(look.label),
                gid=tip(f"{r.step}, {look.label}: {level(achieved)} {unit}"),
            )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        subs = (1,) if high / low > 100 else (1, 2, 5)  # two ticks at least
        axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("arithmetic intensity (FLOP/byte)")
    axes.set_ylabel(f"achieved {unit}")
    draw_legend(figure, axes)
    return figure


def step_times(records: Sequence[Record], order: Sequence[str], looks: Looks) -> Figure:
    """What each step adds to a forward pass, the subjects side by side."""
    by_series = grouped(records, series_of)
    thick, gap = (9, 9) if len(by_series) > 1 else (12, 8)
    row = thick * len(by_series) + gap
    figure = empty_figure(90 + row * len(order), len(by_series))
    axes = figure.add_subplot()
    for i, (series, same) in enumerate(by_series.items()):
        look = looks[series]
        spent = {r.step: r.count * median(r) * 1e3 for r in same}
        places = [
            order.index(step) + (i - (len(by_series) - 1) / 2) * thick / row for step in spent
        ]
        total = f"{short(look.label)}: {amount(sum(spent.values()))} ms"
        bars = axes.barh(places, list(spent.values()), thick / row, color=look.colour,
                         edgecolor=LIGHT["page"], linewidth=0.6, label=total)  # fmt: skip
        for bar, (step, value) in zip(bars, spent.items(), strict=True):
            bar.set_gid(tip(f"{step}, {look.label}: {amount(value)} ms"))
    counts = {r.step: r.count for r in records}
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.yaxis.set_major_locator(FixedLocator(range(len(order))))
    names = [short(plain(s), 24) + (f" ×{counts[s]}" if counts[s] > 1 else "") for s in order]
    axes.yaxis.set_major_formatter(FixedFormatter(names))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.tick_params(axis="x", labeltop=len(order) > 12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.set_xlabel("ms in one forward pass")
    draw_legend(figure, axes)
    return figure
