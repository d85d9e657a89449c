"""The charts share this: how a subject looks, axes, lines, legend, marks, room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from ...text import short
from ..runs import OURS
from .data import Series
from .svg import LIGHT, PIXELS, tip
from .timeline import Point

SERIES = [LIGHT[name] for name in LIGHT if name[0] == "s"]
# Six colours and seven markers: no pair comes twice within 42 subjects.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PHONE, HALF, DESK = 380, 590, 1200  # pixels: of a phone, of half a desk's page and all of it
ROW = 17  # pixels of a line of the legend
LEGEND_MARK = 8  # pixels: a larger one would touch the next row
NEAREST = 0.075  # of the axis: nearer labels would touch
SPREAD = 0.1  # an axis shows at least this share to both sides: noise shall look like noise
MARKS = {"regression": "bad", "improvement": "good"}  # verdicts, and their colours
LONGEST = 42  # letters of a name that a chart has room for


class Look(NamedTuple):
    label: str
    colour: str
    marker: str
    ours: bool


Looks = Mapping[Series, Look]


def looks_of(labels: Mapping[Series, str]) -> Looks:
    """Choose how each subject looks in every chart, this project's first."""
    ours = {label: series[0].startswith(OURS) for series, label in labels.items()}
    unique = sorted(ours, key=ours.__getitem__, reverse=True)
    looks = dict(zip(unique, zip(cycle(SERIES), cycle(MARKERS), strict=False), strict=False))
    return {series: Look(label, *looks[label], ours[label]) for series, label in labels.items()}


def empty_figure(width: int, height: int, legend: int) -> Figure:
    """Make a figure with room for so many lines of a legend above its axes."""
    size = width / PIXELS, (height + ROW * -(-legend // _columns(width))) / PIXELS
    return Figure(size, dpi=PIXELS, layout="constrained")


def _columns(width: float) -> int:
    """Return how many names stand side by side: they are long, and a phone is narrow."""
    return max(1, int(width) // 380)


def number_axis(axis: Axis) -> None:
    """Write the axis's numbers as short as they can be."""
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}")
    )


def name_axis(axis: Axis, places: Sequence[float], names: Sequence[str]) -> None:
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(names))


def line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Look) -> None:
    """Draw a subject's line, this project's above the others and thicker."""
    axes.plot(
        x, y, color=look.colour, marker=look.marker, label=short(look.label, LONGEST),
        linewidth=3 if look.ours else 1.2, markersize=7.5 if look.ours else 5.5,
        markeredgecolor=LIGHT["page"], markeredgewidth=0.8, zorder=4 if look.ours else 3,
    )  # fmt: skip


def spot(axes: Axes, x: float, y: float, look: Look, told: str, url: str | None) -> None:
    """Lay a mark over a line's, with a tip and maybe a link of its own."""
    axes.plot(
        [x], [y], look.marker, color=look.colour, markersize=7.5 if look.ours else 5.5,
        markeredgecolor=LIGHT["page"], markeredgewidth=0.8, zorder=5, gid=tip(told), url=url,
    )  # fmt: skip


def legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend above the axes."""
    handles, names = axes.get_legend_handles_labels()
    drawn = figure.legend(
        handles, names, loc="outside upper left", labelspacing=0.25, alignment="left",
        ncols=_columns(figure.get_figwidth() * PIXELS),
    )  # fmt: skip
    for handle in drawn.legend_handles:  # a copy of a mark, as large as its own, and its tip
        if isinstance(handle, Line2D):
            handle.set(markersize=LEGEND_MARK, gid=None, url=None)


def mark_changes(axes: Axes, points: Sequence[Point]) -> None:
    """Ring and label points that changed."""
    for verdict, colour in MARKS.items():
        mine = [point for point in points if point.verdict == verdict]
        if not mine:
            continue
        up = verdict == "improvement"
        axes.plot(
            [p.slot for p in mine], [p.value for p in mine], "o" if up else "s", markersize=15,
            fillstyle="none", markeredgecolor=LIGHT[colour], markeredgewidth=2, label=verdict,
        )  # fmt: skip
        for p in mine:
            axes.annotate(
                f"{p.ratio - 1:+.0%}", (p.slot, p.value), (0, 11 if up else -11),
                textcoords="offset points", ha="center", va="bottom" if up else "top",
                color=LIGHT[colour], weight="bold",
            )  # fmt: skip


def widen(axes: Axes, values: Sequence[float]) -> None:
    """Give marks room, and show SPREAD to both sides at least."""
    low, high = min(values), max(values)
    middle = (low + high) / 2
    reach = max((high - low) * 0.65, middle * SPREAD)
    axes.set_ylim(max(middle - reach, 0), middle + reach)


def spaced(batches: Sequence[int]) -> list[str]:
    """Label each batch, or not where labels would touch: the ends and powers of two come first."""
    places = np.log2(batches)
    nearest = NEAREST * (places[-1] - places[0])
    kept = [batches[-1]]
    for batch in sorted(batches, key=lambda b: (b != batches[0], b & (b - 1) != 0, b)):
        if np.abs(np.log2(kept) - np.log2(batch)).min() > nearest:
            kept.append(batch)
    return [str(batch) if batch in kept else "" for batch in batches]
