"""Plans say what libraries launch for a Res2Net: timm in eager PyTorch, and torch.compile of it.

They are for rooflines; nothing runs them. Eager PyTorch launches every operator (637 for the
headline model), in NCHW or channels_last alike: bytes are the same. The compiler writes BatchNorm,
ReLU, adds and the concatenation as pointwise kernels between library convolutions: one behind each
convolution (346).

What a library's convolution multiplies, and loads through L2, is that of an implicit GEMM in tiles.
Nobody states the tiles: `LIBRARY_TILES` are assumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..config import Res2NetConfig
from ..plan import Plan, Step, build_plan
from ..plan.types import ConvGeometry, Launch

LIBRARIES = ("eager", "compiled")
MIN_COLUMNS = 32  # of a library's narrowest tile
DEPTH = 32  # of K, that a tile multiplies at once

LaunchOf = tuple[Any, ...]  # name, op, elements read and written, and its convolution if it is one


@dataclass(frozen=True)
class LibraryTile:
    """A LibraryTile is [rows, columns] of a convolution as a matrix product, per group.

    x is [N * Ho * Wo, Ci / groups * R * R] and w [Ci / groups * R * R, Co / groups]. Narrow
    products take narrower tiles, down to MIN_COLUMNS. pair: two thread blocks side by side load
    what they share once, by multicast.
    """

    rows: int
    columns: int
    pair: bool = False

    def product(self, conv: ConvGeometry) -> tuple[int, int]:
        """Return (multiply-accumulates executed, elements through L2, outputs included)."""
        m, n = conv.N * conv.Ho * conv.Wo, conv.Co // conv.groups
        k = conv.Ci // conv.groups * conv.R * conv.R
        columns = min(self.columns, max(MIN_COLUMNS, 1 << (n - 1).bit_length()))
        row_tiles, column_tiles = -(-m // self.rows), -(-n // columns)
        macs = row_tiles * self.rows * column_tiles * columns * -(-k // DEPTH) * DEPTH
        # a column of tiles loads x once, a row of tiles w; what lies outside them is masked
        x_loads, w_loads = column_tiles, row_tiles
        if self.pair and column_tiles > 1:
            x_loads = -(-column_tiles // 2)
        elif self.pair:
            w_loads = -(-row_tiles // 2)
        loaded = x_loads * m * k + w_loads * n * k
        return macs * conv.groups, loaded * conv.groups + conv.activations


PLAIN, PAIRED = LibraryTile(128, 128), LibraryTile(256, 128, pair=True)
# the plain one first; by target, because others than these have no multicast
LIBRARY_TILES = {"sm_90": (PLAIN, PAIRED), "sm_100": (PLAIN, PAIRED)}


def library_plan(
    library: str, config: Res2NetConfig, batch: int, height: int, width: int, dtype: torch.dtype,
    tile: LibraryTile = PLAIN,
) -> Plan:  # fmt: skip
    """Plan what one of LIBRARIES launches, from the steps of the torch backend.

    Each launch is a step of its own, so that it has its own bound.
    """
    plan, size = build_plan(config, batch, height, width, dtype), dtype.itemsize
    steps = []
    for i, step in enumerate(plan.steps):
        for name, op, read, written, *convs in _launches(step, i, size, config.scale, library):
            macs, through = tile.product(*convs) if convs else (0, read + written)
            launches = (Launch(op, read * size, written * size),)
            what = (f"{name}.{op}", op, tuple(convs))
            steps.append(Step(*what, (), (), launches, macs, bytes_l2=through * size))
    return dataclasses.replace(plan, backend=library, steps=tuple(steps))


def _launches(step: Step, index: int, size: int, scale: int, library: str) -> Iterator[LaunchOf]:
    name, fused, convs = step.name, library == "compiled", step.convs
    pooled = step.launches[0].bytes_read // size, step.launches[0].bytes_written // size
    if step.op == "conv":  # of the stem, whose steps come first
        yield from _conv(f"conv1.{index}", convs[0], fused)
    elif step.op == "conv1":
        yield from _conv(name, convs[0], fused)
    elif step.op == "maxpool":
        if not fused:  # else the stem's pointwise kernel writes only what is pooled
            yield name, "pool", *pooled
    elif step.op in ("stage", "first_stage"):
        yield from _splits(step, scale, fused)
    elif step.op == "shortcut":
        if step.launches[0].what == "pool":
            yield name, "pool", *pooled
        found = _conv(name, convs[0], fused, relu=False)
        # fused, its BatchNorm is part of the pointwise kernel behind conv3
        yield from [next(found)] if fused else found
    elif step.op == "conv3":
        yield from _conv(name, convs[0], fused, extra=convs[0].activations)
    else:  # the head
        yield name, "fc" if convs else "pool", *pooled, *convs


def _splits(step: Step, scale: int, fused: bool) -> Iterator[LaunchOf]:
    block, first = step.name.rpartition(".")[0], step.op == "first_stage"
    e, eo = _elements(step.convs[0]), step.convs[0].activations
    for i, conv in enumerate(step.convs):
        # the next split is added to y, and y is written apart, for the concatenation
        more = e if fused and not first and i + 1 < len(step.convs) else 0
        if i > 0 and not first and not fused:
            yield f"{block}.{i}", "add", 2 * e, e
        yield from _conv(f"{step.name}.{i}", conv, fused, extra=more, copies=more)
    if scale > 1 and first:
        yield f"{block}.pool", "pool", e, eo
    if scale > 1 and (first or not fused):
        yield f"{block}.cat", "cat", eo * scale, eo * scale


def _conv(
    name: str, conv: ConvGeometry, fused: bool, *, relu: bool = True, extra: int = 0,
    copies: int = 0,
) -> Iterator[LaunchOf]:  # fmt: skip
    """Yield a convolution and what follows it.

    extra: elements that an add behind it reads; copies: that its pointwise kernel writes more.
    """
    out = conv.activations
    yield name, "conv", _elements(conv), out, conv
    if fused:
        yield name, "pointwise", out + extra, out + copies
        return
    yield name, "batchnorm", out, out
    if extra:
        yield name, "add", out + extra, out
    if relu:
        yield name, "relu", out, out


def _elements(conv: ConvGeometry) -> int:
    """Count the input's elements."""
    return conv.N * conv.H * conv.W * conv.Ci
