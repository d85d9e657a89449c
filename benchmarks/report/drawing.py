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

from .data import Series
from .svg import LIGHT, PIXELS

SERIES = [LIGHT[name] for name in LIGHT if name[0] == "s"]
# Six colours and seven markers: no pair comes twice within 42 subjects.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 380  # pixels: narrow enough to be read on a phone
ROW = 17  # pixels of a line of the legend
LEGEND_MARK = 8  # pixels: a larger one would touch the next row
NEAREST = 0.075  # of the axis: nearer labels would touch
SPREAD = 0.1  # an axis shows at least this share to both sides: noise shall look like noise
LONGEST = 42  # letters of a name that a chart has room for


class Look(NamedTuple):
    label: str
    colour: str
    marker: str


Looks = Mapping[Series, Look]


def looks_of(labels: Mapping[Series, str]) -> Looks:
    """Choose how each subject looks in every chart."""
    unique = dict.fromkeys(labels.values())
    looks = dict(zip(unique, zip(cycle(SERIES), cycle(MARKERS), strict=False), strict=False))
    return {series: Look(label, *looks[label]) for series, label in labels.items()}


def short(text: str, longest: int = LONGEST) -> str:
    """Leave out the middle where the text is too long."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[: half - 1]}…{text[-half:]}"


def empty_figure(height: int, legend: int) -> Figure:
    size = WIDTH / PIXELS, (height + ROW * legend) / PIXELS
    return Figure(size, dpi=PIXELS, layout="constrained")


def number_axis(axis: Axis) -> None:
    """Write the axis's numbers as short as they can be."""
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}")
    )


def name_axis(axis: Axis, places: Sequence[float], names: Sequence[str]) -> None:
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(names))


def line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Look) -> None:
    axes.plot(
        x, y, color=look.colour, marker=look.marker, label=short(look.label), linewidth=1.6,
        markersize=6.5, markeredgecolor=LIGHT["page"], markeredgewidth=0.8,
    )  # fmt: skip


def legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend above the axes, one row per subject: names are long and a phone is narrow."""
    handles, names = axes.get_legend_handles_labels()
    drawn = figure.legend(
        handles, names, loc="outside upper left", labelspacing=0.25, alignment="left"
    )
    for handle in drawn.legend_handles:  # a copy of a mark, as large as its own, and its tip
        if isinstance(handle, Line2D):
            handle.set(markersize=LEGEND_MARK, gid=None)


def mark_changes(
    axes: Axes, changes: Sequence[tuple[float, float, str, float]], upwards: str
) -> None:
    """Ring and label changes: x, y, verdict, ratio. upwards: the verdict that leads up here."""
    for verdict, colour, shape in (("regression", "bad", "s"), ("improvement", "good", "o")):
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
