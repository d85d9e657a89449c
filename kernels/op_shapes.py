"""The shapes that the operators of `ops` demand: one generator an op, under its launcher's name and
with its parameters. It yields what is wrong; nobody reads on after the first fault, so that later
lines rely on earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from .layout import PlanesLayout, pad_to
from .tiles import MIN_BLOCK, TileConfig

Faults = Iterator[str]


@dataclass(frozen=True)
class AtLeast:
    size: int

    def __str__(self) -> str:
        return f">= {self.size}"


def prepare(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, image: Tensor, *, layout: PlanesLayout
) -> Faults:
    yield from _shape("x", x, layout.N, None, layout.H, layout.W)
    yield from _shape("image", image, 1, layout.rows, layout.C)
    if x.shape[1] > layout.C:
        yield f"x has {x.shape[1]} channels, the layout holds {layout.C}"
    if (scale is None) != (shift is None):
        yield "scale and shift must be given both, or neither"
    if scale is not None and shift is not None:
        yield from _shape("scale", scale, x.shape[1])
        yield from _shape("shift", shift, x.shape[1])


def conv(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int,
    out_layout: PlanesLayout | None, tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from _shape("x", x, 1, layout.rows, layout.C)
    yield from _at_least_one("stride", stride)
    n, ho, wo = layout.N, -(-layout.H // stride), -(-layout.W // stride)
    if out_layout is None:
        yield from _shape("out", out, n * ho * wo, None)
    else:
        got = [out_layout.N, out_layout.H, out_layout.W]
        if got != [n, ho, wo]:
            yield f"out_layout must be of N, H, W = {[n, ho, wo]}, got {got}"
        yield from _shape("out", out, 1, out_layout.rows, out_layout.C)
    yield from _taps(w, b, 1, layout, out.shape[-1], tile)


def maxpool(x: Tensor, out: Tensor, *, H: int, W: int) -> Faults:
    yield from _images("x", x, H, W)
    yield from _shape("out", out, _pixels(x, H, W, 2), x.shape[1])


avgpool = maxpool


def conv1(
    x: Tensor, w: Tensor, b: Tensor, planes: Tensor, y: Tensor, *, layout: PlanesLayout,
    tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from _three(layout)
    yield from _shape("x", x, layout.N * layout.H * layout.W, None)
    yield from _shape("planes", planes, None, layout.rows, layout.C)
    yield from _shape("y", y, None, None)
    splits, n = planes.shape[0], y.shape[1]
    if n not in (splits * layout.C, (splits + 1) * layout.C):
        yield (
            f"y must have a group of {layout.C} channels for each of the {splits} planes, "
            f"and perhaps one more, got {n} channels"
        )
    if n > splits * layout.C:  # the last group goes there
        yield from _shape("y", y, x.shape[0], n)
    yield from _gemm(w, b, x.shape[1], n, tile)


def stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, tile: TileConfig,
    chained: bool,
) -> Faults:  # fmt: skip
    yield from _three(layout)
    yield from _shape("planes", planes, None, layout.rows, layout.C)
    splits = planes.shape[0]
    rows = layout.N * layout.H * layout.W
    yield from _shape("y", y, rows, AtLeast(splits * layout.C))
    yield from _taps(w, b, splits, layout, layout.C, tile)


def first_stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, stride: int,
    tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from _three(layout)
    yield from _at_least_one("stride", stride)
    yield from _shape("planes", planes, None, layout.rows, layout.C)
    groups = planes.shape[0]
    rows = layout.N * -(-layout.H // stride) * -(-layout.W // stride)
    yield from _shape("y", y, rows, groups * layout.C)
    yield from _taps(w, b, max(1, groups - 1), layout, layout.C, tile)


def conv3(y: Tensor, w: Tensor, b: Tensor, x: Tensor, out: Tensor, *, tile: TileConfig) -> Faults:
    yield from _shape("y", y, None, None)
    yield from _shape("out", out, y.shape[0], None)
    yield from _shape("x", x, *out.shape)
    yield from _gemm(w, b, y.shape[1], out.shape[1], tile)


def conv3_project(
    y: Tensor, w: Tensor, b: Tensor, x: Tensor, ws: Tensor, out: Tensor, *,
    H: int, W: int, stride: int, tile: TileConfig, block_ks: int,
) -> Faults:  # fmt: skip
    yield from _at_least_one("stride", stride)
    yield from _images("x", x, H, W)
    yield from _shape("y", y, _pixels(x, H, W, stride), None)
    yield from _shape("out", out, y.shape[0], None)
    if block_ks < MIN_BLOCK or block_ks & (block_ks - 1):
        yield f"block_ks must be a power of two from {MIN_BLOCK}, got {block_ks}"
    yield from _gemm(w, b, y.shape[1], out.shape[1], tile)
    yield from _shape("ws", ws, AtLeast(pad_to(x.shape[1], block_ks)), w.shape[1])


def global_pool(x: Tensor, out: Tensor) -> Faults:
    yield from _shape("x", x, None, None)
    yield from _shape("out", out, None, x.shape[1])
    images, rows = out.shape[0], x.shape[0]
    if rows % images if images else rows:
        yield f"x has {rows} rows, not as many for each of the {images} rows of out"


def linear(x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, tile: TileConfig) -> Faults:
    yield from _shape("x", x, None, None)
    yield from _shape("out", out, x.shape[0], None)
    yield from _gemm(w, b, x.shape[1], out.shape[1], tile)


def _shape(name: str, tensor: Tensor, *expected: int | AtLeast | None) -> Faults:
    """None: any size."""
    if len(tensor.shape) != len(expected) or any(
        got < want.size if isinstance(want, AtLeast) else want is not None and got != want
        for got, want in zip(tensor.shape, expected, strict=False)
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        yield f"{name} must have shape [{wanted}], got {list(tensor.shape)}"


def _gemm(w: Tensor, b: Tensor, k: int, n: int, tile: TileConfig) -> Faults:
    """A packed weight that whole tiles may read, and its bias."""
    rows, columns = pad_to(k, tile.block_k), pad_to(n, tile.block_n)
    yield from _shape("w", w, AtLeast(rows), AtLeast(columns))
    yield from _shape("b", b, w.shape[1])


def _taps(
    w: Tensor, b: Tensor, convs: int, layout: PlanesLayout, n: int, tile: TileConfig
) -> Faults:
    """The packed weights of R x R convolutions with n output channels, and their biases."""
    if tile.block_k != layout.block_k:
        yield f"the tile's block_k must be the layout's, {layout.block_k}, got {tile.block_k}"
    columns = pad_to(n, tile.block_n)
    yield from _shape("w", w, convs, layout.R, AtLeast(layout.k), AtLeast(columns))
    yield from _shape("b", b, convs, w.shape[3])


def _three(layout: PlanesLayout) -> Faults:
    """A block's convolutions are 3x3, and its splits are stored in multiples of 8 channels."""
    if layout.R != 3 or layout.C % 8:
        yield f"layout must have R = 3 and a multiple of 8 as C, got R {layout.R}, C {layout.C}"


def _images(name: str, x: Tensor, h: int, w: int) -> Faults:
    yield from _shape(name, x, None, None)
    yield from _at_least_one("H", h)
    yield from _at_least_one("W", w)
    if x.shape[0] % (h * w):
        yield f"{name} must have a multiple of H * W = {h * w} rows, got {x.shape[0]}"


def _pixels(x: Tensor, h: int, w: int, stride: int) -> int:
    """Rows of a strided output."""
    return x.shape[0] // (h * w) * -(-h // stride) * -(-w // stride)


def _at_least_one(name: str, value: int) -> Faults:
    if value < 1:
        yield f"{name} must be at least 1, got {value}"
