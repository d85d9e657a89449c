"""The Triton backend runs a block as conv1, a stage and conv3, one launch each.

A step's `options` are what its kernel is told beside the tensors: tiles, layouts, strides.
Bytes count a launch's inputs once, gaps of the planes layout included, and its outputs once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ..config import BlockConfig, Res2NetConfig
from ..errors import ConfigError
from ..int8 import ActivationScales
from ..kernels.call import MAX_ROWS
from ..kernels.layout import PlanesLayout, pad_channels, pad_image_channels
from ..kernels.targets import Target
from ..kernels.tiles import MIN_BLOCK, TileConfig, TileTable
from .l2 import bytes_l2
from .schedule import Moved, Schedule
from .triton_tiles import SMALLER, TileChoice, pooled_lines
from .types import Buffer, ConvGeometry, out_size

SCHEDULES = ("auto", "throughput", "latency")


class TritonSchedule(Schedule):
    backend = "triton"

    def __init__(
        self, config: Res2NetConfig, batch: int, height: int, width: int, dtype: torch.dtype,
        target: Target, tiles: TileTable, schedule: str, as_batch: int | None = None,
        int8: ActivationScales | None = None,
    ) -> None:  # fmt: skip
        self.int8 = int8
        self.block_dtype = dtype if int8 is None else torch.int8  # before the first buffer
        super().__init__(config, batch, height, width, dtype)
        as_batch = as_batch or batch
        # programs of an image or more fill the chip only from about as many images as it has SMs
        many = as_batch >= target.sms // 2
        self.chained = many if schedule == "auto" else schedule == "throughput"
        self.tiles = TileChoice(
            target, tiles, dtype, self.block_dtype, batch, as_batch, self.chained
        )
        self.pool_tile: TileConfig | None = None  # of the stem's convolution, where that pools
        largest = batch * out_size(height, 2) * out_size(width, 2)
        if largest > MAX_ROWS:
            raise ConfigError(
                f"{batch} images of {height}x{width} have {largest} pixels after the stem; "
                f"the kernels count up to {MAX_ROWS}"
            )

    def step(self, name: str, op: str, *args: Any, **kwargs: Any) -> None:
        super().step(name, op, *args, **kwargs)
        step = self.steps[-1]
        through = bytes_l2(step, self.buffers, self.config.scale)
        self.steps[-1] = dataclasses.replace(step, bytes_l2=through)

    def itemsize(self, name: str) -> int:
        """Return the bytes of an element: what blocks read and write may be int8."""
        in_block = name == "maxpool" or name.startswith("layer")
        return self.block_dtype.itemsize if in_block else super().itemsize(name)

    def scales(self) -> dict[str, float]:
        """Return those of what users may ask for: a layer's last block writes its buffer last."""
        if self.int8 is None:
            return {}
        found = {"stem": self.int8.stem, "embedding": self.int8.blocks[-1].out}
        layers = ((block.name.partition(".")[0], block.out) for block in self.int8.blocks)
        return found | {f"{layer}.0.out": out for layer, out in layers}

    def planes(self, name: str, count: int, layout: PlanesLayout) -> str:
        if layout.image_rows * layout.C > MAX_ROWS:  # within an image, offsets are in 32 bits
            raise ConfigError(
                f"{layout.H}x{layout.W} pixels of {layout.C} channels are "
                f"{layout.image_rows * layout.C} elements of an image; the kernels address up to "
                f"{MAX_ROWS}"
            )
        shape = (count, layout.rows, layout.C)
        self.buffers[name] = Buffer(name, shape, self.itemsize(name), planes=True)
        return name

    def stem(self) -> str:
        config, (n, h, w) = self.config, (self.batch, self.height, self.width)
        channels, c = config.stem_channels, pad_image_channels(config.in_chans)
        # (name, input channels, their stored width, output channels, R, stride)
        convs = [("conv1", config.in_chans, c, channels, 7, 2)]
        if config.deep_stem:
            mid, mid_c = config.stem_width, pad_channels(config.stem_width)
            convs = [
                ("conv1.0", config.in_chans, c, mid, 3, 2),
                ("conv1.3", mid, mid_c, mid, 3, 1),
                ("conv1.6", mid, mid_c, channels, 3, 1),
            ]
        geometries, tiles, layouts = [], [], []
        for name, ci, stored, co, r, stride in convs:
            geometry = ConvGeometry(n, h, w, ci, co, r, stride)
            probe = PlanesLayout(n, h, w, stored, 16, r)  # the taps' length does not need block_k
            m = n * geometry.Ho * geometry.Wo
            if name == convs[-1][0]:
                self.pool_tile = self.tiles.pool(geometry, probe.line)
            if self.pool_tile is None:
                tile = self.tiles.tile(f"conv{r}x{r}", m, probe.line, co)
            else:  # the kernel that pools, and that of the map aside, read one layout
                rule = self.tiles.rule(f"conv{r}x{r}", m, probe.line, co)
                tile = dataclasses.replace(rule, block_k=self.pool_tile.block_k)
            geometries.append(geometry)
            tiles.append(tile)
            layouts.append(PlanesLayout(n, h, w, stored, tile.block_k, r))
            h, w = geometry.Ho, geometry.Wo

        source = self.planes("image", 1, layouts[0])
        pixels = n * self.height * self.width
        moved = (("prepare", pixels * config.in_chans, pixels * c),)
        self.step("input", "prepare", ("input",), (source,), (), moved, 0, {"layout": layouts[0]})
        for i, (name, *_, co, r, stride) in enumerate(convs):
            geometry, tile, layout = geometries[i], tiles[i], layouts[i]
            last = i + 1 == len(convs)
            if last:
                target = self.buffer("stem", co, geometry.Ho, geometry.Wo)
            else:
                target = self.planes(f"stem.{i}", 1, layouts[i + 1])
            m = n * geometry.Ho * geometry.Wo
            columns = co if last else layouts[i + 1].C
            moved = ((f"conv{r}x{r}", self.elements(source), m * columns),)
            options = {"layout": layout, "stride": stride, "tile": tile}
            options["out_layout"] = None if last else layouts[i + 1]
            executed = r * tile.macs(m, columns, layout.k, **SMALLER["conv"])
            self.step(name, "conv", (source,), (target,), (geometry,), moved, executed, options)
            source = target
        return source

    def maxpool(self, source: str) -> str:
        """Pool the stem's map, or plan the kernel that makes and pools it, and the map aside."""
        _, h, w, c = self.nhwc(source)
        target = self.buffer("maxpool", c, out_size(h, 2), out_size(w, 2))
        if self.pool_tile is None:
            self.step("maxpool", "maxpool", (source,), (target,), options={"H": h, "W": w})
            return target
        conv = self.steps[-1]
        self.steps[-1] = dataclasses.replace(
            conv, name=source, aside=conv.name, note="where its feature map is wanted"
        )
        options = {name: conv.options[name] for name in ("layout", "stride")}
        tile = options["tile"] = self.pool_tile
        lines, across = pooled_lines(conv.convs[0], tile)
        k = options["layout"].R * options["layout"].k
        executed = lines * tile.macs(across * tile.block_m, c, k, **SMALLER["conv_pool"])
        self.step(
            conv.name, "conv_pool", conv.reads, (target,), conv.convs, None, executed, options
        )
        return target

    def block(self, block: BlockConfig, trunk: str) -> str:
        config, (n, h, w, ci) = self.config, self.nhwc(trunk)
        layer = block.name.partition(".")[0]
        c, groups, convs = pad_channels(block.width), config.scale, config.num_convs
        ho, wo = out_size(h, block.stride), out_size(w, block.stride)
        m, m_out = n * h * w, n * ho * wo
        split = ConvGeometry(n, h, w, block.width, block.width, 3, block.stride, config.cardinality)
        layout = PlanesLayout(n, h, w, c, MIN_BLOCK)
        form, note = (None, "") if block.is_first else self.tiles.form(layout)
        if form is None:
            op = "first_stage" if block.is_first else "stage"
            chained = self.chained and not block.is_first
            tile = self.tiles.tile(op, 0 if chained else m_out, 3 * c, c)
            layout = PlanesLayout(n, h, w, c, tile.block_k)
        count = groups if block.is_first else convs
        name = f"{layer}.0.planes" if block.is_first else f"{layer}.planes"
        planes = self.planes(name, count, layout)
        y = self.buffer(f"{layer}.y", groups * c, ho, wo)

        pointwise = self.tiles.tile("conv1", m, ci, groups * c)
        geometry = ConvGeometry(n, h, w, ci, block.width * groups)
        self.step(
            f"{block.name}.conv1", "conv1", (trunk,), (planes, y), (geometry,),
            (("conv1", m * ci, m * groups * c),),
            pointwise.macs(m, groups * c, ci, **SMALLER["conv1"]),
            {"layout": layout, "tile": pointwise},
        )  # fmt: skip

        name, splits = f"{block.name}.convs", (split,) * convs
        stored = layout.rows * c  # elements of a plane, gaps included
        options: dict[str, Any] = {"layout": layout}
        if form is not None:
            op = "resident_stage"
            moved: tuple[Moved, ...] = ((op, convs * stored, convs * m * c),)
            executed = form.macs(layout, convs)
            options["form"] = form
        elif block.is_first:
            options |= {"tile": tile, "stride": block.stride}
            moved = ((op, groups * stored, m_out * groups * c),)
            executed = 3 * convs * tile.macs(m_out, c, layout.k)
        else:
            options |= {"tile": tile, "chained": chained}
            # each split reads its plane and writes its group of y; all but the last add to a plane
            adds = [m * c if i + 1 < convs else 0 for i in range(convs)]
            moved = ((op, convs * stored, convs * m * c, sum(adds)),)
            if not chained:
                moved = tuple((op, stored + add, m * c + add) for add in adds)
            executed = 3 * convs * n * tile.macs(layout.pixels, c, layout.k, **SMALLER[op])
        written = (planes, y) if op == "stage" else (y,)
        self.step(name, op, (planes,), written, splits, moved, executed, options, note)
        if block.is_first:
            return self.project(block, y, trunk)
        co = block.out_channels
        tile = self.tiles.tile("conv3", m, groups * c, co, shortcut=True)
        self.step(
            f"{block.name}.conv3", "conv3", (y, trunk), (trunk,),
            (ConvGeometry(n, h, w, block.width * groups, co),), None,
            tile.macs(m, co, groups * c, **SMALLER["conv3"]), {"tile": tile},
        )  # fmt: skip
        return trunk

    def project(self, block: BlockConfig, y: str, trunk: str) -> str:
        """Add conv3 of a first block: the projection of the shortcut is its second K loop."""
        n, h, w, ci = self.nhwc(trunk)
        _, ho, wo, k = self.nhwc(y)
        stride, m, co = block.stride, n * ho * wo, block.out_channels
        shortcut = ConvGeometry(n, h, w, ci, co, stride=stride)
        if self.config.avg_down and stride > 1:
            pooled = self.buffer(f"{block.name}.pooled", ci, ho, wo)
            options = {"H": h, "W": w}
            self.step(f"{block.name}.pool", "avgpool", (trunk,), (pooled,), options=options)
            trunk, h, w, stride = pooled, ho, wo, 1
            shortcut = ConvGeometry(n, h, w, ci, co)
        out = self.buffer(f"{block.name}.out", co, ho, wo)
        tile = self.tiles.tile("conv3", m, k, co)
        block_ks = min(tile.block_k, self.tiles.rule("conv3", m, ci, co).block_k)
        second = dataclasses.replace(tile, block_k=block_ks)  # loop, over the shortcut's channels
        conv3 = ConvGeometry(n, ho, wo, block.width * self.config.scale, co)
        self.step(
            f"{block.name}.conv3", "conv3_project", (y, trunk), (out,), (conv3, shortcut),
            (("conv3", m * k + m * ci, m * co),),
            sum(t.macs(m, co, size, **SMALLER["conv3"]) for t, size in ((tile, k), (second, ci))),
            {"H": h, "W": w, "stride": stride, "tile": tile, "block_ks": block_ks},
        )  # fmt: skip
        return out

    def linear(self, conv: ConvGeometry) -> tuple[int, dict[str, Any]]:
        tile = self.tiles.tile("linear", conv.N, conv.Ci, conv.Co)
        return tile.macs(conv.N, conv.Co, conv.Ci, **SMALLER["linear"]), {"tile": tile}
