"""What the charts have in common: how a subject looks, lines, legend, marks, room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..records import Record
from .data import labels
from .style import LIGHT, MARKERS, SERIES
from .svg import PIXELS
from .words import plain, short

WIDTH = 380  # pixels
ROW = 17  # pixels of a line of the legend
LEGEND_MARK = 8  # pixels: a larger one would touch the next row
NEAREST = 0.075  # of the axis: nearer labels would touch
SPREAD = 0.1  # an axis shows at least this share to both sides: noise shall look like noise


class Look(NamedTuple):
    label: str
    colour: str
    marker: str


Looks = Mapping[tuple[str, str, str], Look]


def looks_of(records: Sequence[Record]) -> dict[tuple[str, str, str], Look]:
    """How each subject looks in every chart."""
    names = labels(records)
    looks = {
        label: Look(plain(label), SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)])
        for i, label in enumerate(dict.fromkeys(names.values()))
    }
    return {series: looks[label] for series, label in names.items()}


def empty_figure(height: int, legend: int) -> Figure:
    size = WIDTH / PIXELS, (height + ROW * legend) / PIXELS
    return Figure(size, dpi=PIXELS, layout="constrained")


def draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Look) -> None:
    axes.plot(
        x, y, color=look.colour, marker=look.marker, label=short(look.label), linewidth=1.6,
        markersize=6.5, markeredgecolor=LIGHT["page"], markeredgewidth=0.8,
    )  # fmt: skip


def draw_legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, a row a subject: names are long and a phone is narrow."""
    handles, names = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, names, loc="outside upper left", labelspacing=0.25, alignment="left"
    )
    for handle in legend.legend_handles:  # a copy of a mark, as large as its own, and its tip
        if isinstance(handle, Line2D):
            handle.set(markersize=LEGEND_MARK, gid=None)


def mark_changes(
    axes: Axes, changes: Sequence[tuple[float, float, str, float]], upwards: str
) -> None:
    """changes: x, y, verdict and ratio. upwards: the verdict that leads up on these axes."""
    looks = {"regression": ("bad", "s"), "improvement": ("good", "o")}
    for verdict, (colour, shape) in looks.items():
        mine = [(x, y, ratio) for x, y, found, ratio in changes if found == verdict]
        if not mine:
            continue
        axes.plot(
            [x for x, *_ in mine], [y for _, y, _ in mine], shape, markersize=14, fillstyle="none",
            markeredgecolor=LIGHT[colour], markeredgewidth=2, label=verdict,
        )  # fmt: skip
        for x, y, ratio in mine:
            up = verdict == upwards
            axes.annotate(
                f"{ratio:.2f}x", (x, y), (0, 10 if up else -10), textcoords="offset points",
                ha="center", va="bottom" if up else "top", color=LIGHT[colour], weight="bold",
            )  # fmt: skip


def widen(axes: Axes, values: Sequence[float]) -> None:
    """Room for marks, and SPREAD to both sides at least."""
    low, high = min(values), max(values)
    middle = (low + high) / 2
    reach = max((high - low) * 0.65, middle * SPREAD)
    axes.set_ylim(max(middle - reach, 0), middle + reach)


def spaced(batches: Sequence[int]) -> list[str]:
    """A label for each, or none where labels would touch: the ends and powers of two come first."""
    places = np.log2(batches)
    nearest = NEAREST * (places[-1] - places[0])
    kept = [batches[-1]]
    for batch in sorted(batches, key=lambda b: (b != batches[0], b & (b - 1) != 0, b)):
        if np.abs(np.log2(kept) - np.log2(batch)).min() > nearest:
            kept.append(batch)
    return [str(batch) if batch in kept else "" for batch in batches]
