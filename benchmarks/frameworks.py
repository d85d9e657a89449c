"""What frameworks launch for a Res2Net: timm in eager PyTorch, and torch.compile of it.

Plans like the engine's own, for rooflines; nothing runs them. Eager PyTorch launches every operator
(637 for the headline model). The compiler writes BatchNorm, ReLU, adds and the concatenation as
pointwise kernels between library convolutions: one behind each convolution (346).

What a library's convolution multiplies, and loads through L2, is that of an implicit GEMM in tiles.
Nobody states the tiles: `LIBRARY_TILES` are assumed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from ..config import BlockConfig, Res2NetConfig
from ..plan.torch_schedule import TorchSchedule
from ..plan.types import ConvGeometry, out_size

Moves = list[tuple[str, int, int]]  # what, elements read, elements written
MIN_COLUMNS = 32  # of a library's narrowest tile
DEPTH = 32  # of K, that a tile multiplies at once


@dataclass(frozen=True)
class LibraryTile:
    """A tile [rows, columns] of a convolution as a matrix product, per group.

    x is [N * Ho * Wo, Ci / groups * R * R] and w [Ci / groups * R * R, Co / groups]. Narrow
    products take narrower tiles, down to MIN_COLUMNS. pair: two thread blocks side by side load
    what they share once, by multicast.
    """

    rows: int
    columns: int
    pair: bool = False

    def product(self, conv: ConvGeometry) -> tuple[int, int]:
        """(multiply-accumulates executed, elements that go through L2, outputs included)."""
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


class EagerSchedule(TorchSchedule):
    """NCHW or channels_last alike: bytes are the same."""

    backend = "eager"
    fused = False

    def __init__(
        self, config: Res2NetConfig, batch: int, height: int, width: int, dtype: torch.dtype,
        tile: LibraryTile = PLAIN,
    ) -> None:  # fmt: skip
        super().__init__(config, batch, height, width, dtype)
        self.tile = tile

    def step(self, name: str, op: str, *args: Any, **kwargs: Any) -> None:
        super().step(name, op, *args, **kwargs)
        step = self.steps[-1]
        macs, through = 0, step.bytes_read + step.bytes_written
        if step.convs:  # one a step
            macs, elements = self.tile.product(*step.convs)
            through = elements * self.dtype.itemsize
        self.steps[-1] = dataclasses.replace(step, executed_macs=macs, bytes_l2=through)

    def conv_bn(
        self, name: str, geometry: ConvGeometry, *, relu: bool, extra: int = 0, copies: int = 0
    ) -> None:
        """One convolution with what follows it.

        extra: elements that an add behind it reads; copies: that its pointwise kernel writes more.
        """
        out = geometry.activations
        moves: Moves = [("conv", geometry.N * geometry.H * geometry.W * geometry.Ci, out)]
        if self.fused:
            moves.append(("pointwise", out + extra, out + copies))
        else:
            moves.append(("batchnorm", out, out))
            if extra:
                moves.append(("add", out + extra, out))
            if relu:
                moves.append(("relu", out, out))
        self.moves(name, moves, (geometry,))

    def moves(self, name: str, moves: Moves, convs: tuple[ConvGeometry, ...] = ()) -> None:
        for i, move in enumerate(moves):
            own = convs if i == 0 else ()  # a launch a step, so that each has its own bound
            self.step(f"{name}.{move[0]}", move[0], (), (), own, (move,))

    def stem(self) -> str:
        config, n, h, w = self.config, self.batch, self.height, self.width
        convs = [(config.in_chans, config.stem_channels, 7, 2)]
        if config.deep_stem:
            mid = config.stem_width
            convs = [(config.in_chans, mid, 3, 2), (mid, mid, 3, 1)]
            convs += [(mid, config.stem_channels, 3, 1)]
        for i, (ci, co, r, stride) in enumerate(convs):
            geometry = ConvGeometry(n, h, w, ci, co, r, stride)
            self.conv_bn(f"conv1.{i}", geometry, relu=True)
            h, w = geometry.Ho, geometry.Wo
        return self.buffer("stem", config.stem_channels, h, w)

    def maxpool(self, source: str) -> str:
        _, h, w, c = self.nhwc(source)
        target = self.buffer("maxpool", c, out_size(h, 2), out_size(w, 2))
        self.moves("maxpool", [("pool", self.elements(source), self.elements(target))])
        return target

    def block(self, block: BlockConfig, trunk: str) -> str:
        n, h, w, ci = self.nhwc(trunk)
        scale, width, co = self.config.scale, block.width, block.out_channels
        ho, wo = out_size(h, block.stride), out_size(w, block.stride)
        self.conv_bn(f"{block.name}.conv1", ConvGeometry(n, h, w, ci, width * scale), relu=True)
        split = ConvGeometry(
            n, h, w, width, width, 3, block.stride, self.config.cardinality
        )  # fmt: skip
        e, eo = n * h * w * width, split.activations
        convs = self.config.num_convs
        for i in range(convs):
            # the next split is added to y, and y is written apart, for the concatenation
            more = e if self.fused and not block.is_first and i + 1 < convs else 0
            if i > 0 and not block.is_first and not self.fused:
                self.moves(f"{block.name}.{i}", [("add", 2 * e, e)])
            self.conv_bn(f"{block.name}.convs.{i}", split, relu=True, extra=more, copies=more)
        if scale > 1 and block.is_first:
            self.moves(f"{block.name}.pool", [("pool", e, eo)])
        if scale > 1 and (block.is_first or not self.fused):
            self.moves(f"{block.name}.cat", [("cat", eo * scale, eo * scale)])
        out = self.buffer(f"{block.name}.out", co, ho, wo)
        if block.is_first:
            self.shortcut(block, trunk)
        conv3 = ConvGeometry(n, ho, wo, width * scale, co)
        self.conv_bn(f"{block.name}.conv3", conv3, relu=True, extra=self.elements(out))
        return out

    def shortcut(self, block: BlockConfig, trunk: str) -> str:
        n, h, w, ci = self.nhwc(trunk)
        stride, name = block.stride, f"{block.name}.downsample"
        if self.config.avg_down and stride > 1:
            ho, wo = out_size(h, stride), out_size(w, stride)
            self.moves(name, [("pool", self.elements(trunk), n * ho * wo * ci)])
            h, w, stride = ho, wo, 1
        geometry = ConvGeometry(n, h, w, ci, block.out_channels, stride=stride)
        if self.fused:  # its BatchNorm is part of the pointwise kernel behind conv3
            self.moves(name, [("conv", n * h * w * ci, geometry.activations)], (geometry,))
        else:
            self.conv_bn(name, geometry, relu=False)
        return trunk

    def head(self, trunk: str) -> None:
        n, channels, classes = self.batch, self.config.num_features, self.config.num_classes
        self.moves("global_pool", [("pool", self.elements(trunk), n * channels)])
        if classes:
            geometry = ConvGeometry(n, 1, 1, channels, classes)
            self.moves("fc", [("fc", n * channels, n * classes)], (geometry,))


class CompiledSchedule(EagerSchedule):
    backend = "compiled"
    fused = True

    def maxpool(self, source: str) -> str:
        """Part of the stem's pointwise kernel, which then writes only what is pooled."""
        _, h, w, c = self.nhwc(source)
        return self.buffer("maxpool", c, out_size(h, 2), out_size(w, 2))
