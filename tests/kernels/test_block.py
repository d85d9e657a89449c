"""conv1, stage and conv3 on one block's buffers, against their twins, in fp16, bf16 and fp32."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from r2n_kernels.fold import FoldedConv
from r2n_kernels.fold.triton_layout import PackedConv, pack_1x1, pack_3x3
from r2n_kernels.kernels.layout import PlanesLayout, pad_channels
from r2n_kernels.kernels.tiles import TileConfig, pointwise_tile, stage_tile
from r2n_kernels.reference import twins

SMALL_TILE = TileConfig(32, 16, 16, 4, 2)


@dataclass(frozen=True)
class Block:
    """A geometry: N images of H x W, Ci channels in, `splits` + 1 splits of `width`."""

    N: int
    H: int
    W: int
    width: int
    splits: int = 3
    groups: int = 1
    Ci: int = 40
    tile: TileConfig | None = None  # None: the rule's

    @property
    def stage_tile(self) -> TileConfig:
        return self.tile or stage_tile(pad_channels(self.width))

    @property
    def layout(self) -> PlanesLayout:
        tile = self.stage_tile
        c = pad_channels(self.width)
        return PlanesLayout(self.N, self.H, self.W, c, tile.block_k)


GEOMETRIES = [
    Block(1, 7, 7, 208),
    Block(2, 14, 14, 104),
    Block(1, 28, 28, 52),
    Block(1, 56, 56, 26),
    Block(3, 5, 9, 13, tile=SMALL_TILE),
    Block(2, 1, 1, 19, tile=SMALL_TILE),
    Block(2, 3, 17, 5, splits=1, tile=SMALL_TILE),
    Block(2, 9, 4, 9, splits=7, tile=SMALL_TILE),
    Block(1, 8, 8, 32, groups=8),
    Block(2, 6, 6, 8, splits=5, tile=TileConfig(64, 32, 64, 4, 2)),  # K_PAD reaches five rows far
]
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# the headline's sizes take seconds each in the interpreter: one dtype by default
cases = pytest.mark.parametrize(
    ("block", "dtype"),
    [
        pytest.param(
            block,
            dtype,
            id=f"{block.H}x{block.W}-w{block.width}-{str(dtype)[6:]}",
            marks=[pytest.mark.slow] if block.tile is None and dtype != torch.float16 else [],
        )
        for block in GEOMETRIES
        for dtype in DTYPES
    ],
)


def rand(*shape: int, gain: float = 1.0, seed: int = 0) -> Tensor:
    return gain * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conv(
    co: int, ci: int, r: int, dtype: torch.dtype, groups: int = 1, seed: int = 0
) -> FoldedConv:
    weight = rand(co, ci // groups, r, r, gain=(2 / (ci // groups * r * r)) ** 0.5, seed=seed)
    bias = rand(co, gain=0.1, seed=seed + 1)
    return FoldedConv("conv", weight.to(dtype), bias.to(dtype), groups=groups)


def packed_on(packed: PackedConv, buffers) -> tuple[Tensor, Tensor]:
    return buffers.guarded(packed.weight), buffers.guarded(packed.bias)


def filled_planes(block: Block, dtype: torch.dtype) -> Tensor:
    """Zero gaps, random non-negative pixels, zero pad channels: as conv1 leaves them."""
    layout = block.layout
    planes = torch.zeros(block.splits, layout.rows, layout.C, dtype=dtype)
    for split in range(block.splits):
        pixels = rand(block.N, block.H, block.W, block.width, seed=split).relu().to(dtype)
        twins.images_of(planes[split], layout)[..., : block.width] = pixels
    return planes


@cases
def test_conv1(block, dtype, buffers, check):
    from r2n_kernels.kernels.conv1 import conv1

    layout, groups, c = block.layout, block.splits + 1, pad_channels(block.width)
    folded = conv(block.width * groups, block.Ci, 1, dtype)
    tile = block.tile or pointwise_tile(block.Ci, groups * c)
    packed = pack_1x1(folded, tile, out_group=block.width)
    x = rand(block.N * block.H * block.W, block.Ci).to(dtype)

    def outputs(make, as_type):
        planes = make(torch.zeros(block.splits, layout.rows, c, dtype=as_type))
        for plane in planes:
            twins.images_of(plane, layout).fill_(float("nan"))
        return planes, make(torch.full((len(x), groups * c), float("nan"), dtype=as_type))

    planes, y = outputs(buffers.guarded, dtype)
    conv1(buffers.guarded(x), *packed_on(packed, buffers), planes, y, layout, tile)
    buffers.assert_guards()
    eager, exact = outputs(lambda t: t, dtype), outputs(lambda t: t, torch.float64)
    twins.conv1(x, packed.weight, packed.bias, *eager, layout)
    wide = (x.double(), packed.weight.double(), packed.bias.double())
    twins.conv1(*wide, *exact, layout)
    check(planes, eager[0], exact[0])  # the gaps are still zero, every pixel is written
    last = slice(block.splits * c, None)
    check(y[:, last], eager[1][:, last], exact[1][:, last])
    assert y[:, : block.splits * c].isnan().all(), "conv1 wrote into the stage's part of y"


@cases
def test_stage(block, dtype, buffers, check):
    from r2n_kernels.kernels.stage import stage

    layout, c, tile = block.layout, pad_channels(block.width), block.stage_tile
    convs = [
        conv(block.width, block.width, 3, dtype, block.groups, seed=10 * i)
        for i in range(block.splits)
    ]
    packed = pack_3x3(convs, tile)
    start = filled_planes(block, dtype)
    width = (block.splits + 1) * c
    results = []
    for chained in (True, False):
        planes = buffers.guarded(start)
        y = buffers.unwritten((block.N * block.H * block.W, width), dtype)
        stage(planes, *packed_on(packed, buffers), y, layout, tile, chained=chained)
        buffers.assert_guards()
        assert y[:, block.splits * c :].isnan().all(), "the stage wrote into the last group"
        results.append((planes, y[:, : block.splits * c]))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other), "chained and split schedules differ"

    def twin(as_type):
        planes = start.to(as_type)
        y = torch.zeros(block.N * block.H * block.W, width, dtype=as_type)
        weight, bias = packed.weight.to(as_type), packed.bias.double()
        twins.stage(planes, weight, bias, y, layout)
        return y[:, : block.splits * c]

    check(results[0][1], twin(dtype), twin(torch.float64))


@cases
def test_conv3(block, dtype, buffers, check):
    from r2n_kernels.kernels.conv3 import conv3

    groups, c = block.splits + 1, pad_channels(block.width)
    co = 4 * block.width
    tile = block.tile or pointwise_tile(groups * c, co)
    packed = pack_1x1(conv(co, block.width * groups, 1, dtype), tile, in_group=block.width)
    rows = block.N * block.H * block.W
    y, shortcut = rand(rows, groups * c).to(dtype), rand(rows, co, seed=5).to(dtype)
    out = buffers.unwritten((rows, co), dtype)
    weights = packed_on(packed, buffers)
    conv3(buffers.guarded(y), *weights, buffers.guarded(shortcut), out, tile)
    in_place = buffers.guarded(shortcut)
    conv3(buffers.guarded(y), *weights, in_place, in_place, tile)
    buffers.assert_guards()
    assert torch.equal(out, in_place)
    eager, exact = torch.empty_like(shortcut), torch.empty(rows, co, dtype=torch.float64)
    twins.conv3(y, packed.weight, packed.bias, shortcut, eager)
    twins.conv3(*(t.double() for t in (y, packed.weight, packed.bias, shortcut)), exact)
    check(out, eager, exact)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_images_nan_leaves_the_others_bit_identical(value, buffers):
    from r2n_kernels.kernels.stage import stage

    for block in (Block(3, 5, 6, 8, tile=TileConfig(64, 32, 64, 4, 2)), Block(3, 7, 7, 26)):
        layout, c, tile = block.layout, pad_channels(block.width), block.stage_tile
        packed = pack_3x3([conv(block.width, block.width, 3, torch.float16)] * 3, tile)
        outs = []
        for poison in (False, True):
            start = filled_planes(block, torch.float16)
            if poison:
                twins.images_of(start[0], layout)[1] = value
            planes = buffers.guarded(start)
            y = buffers.unwritten((block.N * block.H * block.W, 4 * c), torch.float16)
            stage(planes, *packed_on(packed, buffers), y, layout, tile, chained=True)
            outs.append(y.view(block.N, -1, 4 * c)[..., : 3 * c])
        clean, poisoned = outs
        assert torch.equal(clean[0], poisoned[0])
        assert torch.equal(clean[2], poisoned[2])
        if value != value:
            assert poisoned[1, :, : block.width].isnan().all(), "ReLU swallowed NaN"
