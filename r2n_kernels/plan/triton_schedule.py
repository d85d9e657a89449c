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
from ..kernels.forms import ResidentForm, choose_form
from ..kernels.layout import TABLE_ROWS, PlanesLayout, pad_channels, pad_image_channels
from ..kernels.targets import Target
from ..kernels.tile_rules import choose_conv_tile, choose_gemm_tile, choose_pool_tile
from ..kernels.tiles import (
    MIN_BLOCK,
    POOL_BAND,
    TileConfig,
    TileTable,
    pool_programs,
    weight_columns,
)
from .schedule import Moved, Schedule
from .types import Buffer, ConvGeometry, Step, out_size

SCHEDULES = ("auto", "throughput", "latency")
# Which of an op's last tiles may be smaller than the others, as TileConfig.area takes it
SMALLER = {
    "conv": {"whole": True}, "conv_pool": {"whole": True},
    "conv1": {"half": True}, "first_stage": {}, "stage": {"half": True},
    "conv3": {"whole": True, "half": True}, "conv3_project": {"whole": True, "half": True},
    "linear": {"whole": True},
}  # fmt: skip


MOST_REPEATED = 1.6  # of the stem's products, where they are pooled: 1.2 at 224 px, 1.6 at 256


class TritonSchedule(Schedule):
    backend = "triton"

    def __init__(
        self, config: Res2NetConfig, batch: int, height: int, width: int, dtype: torch.dtype,
        target: Target, tiles: TileTable, schedule: str, as_batch: int | None = None,
        int8: ActivationScales | None = None,
    ) -> None:  # fmt: skip
        self.int8 = int8  # before the first buffer, whose element's size it decides
        super().__init__(config, batch, height, width, dtype)
        self.target, self.tiles, self.as_batch = target, tiles, as_batch or batch
        # programs of an image or more fill the chip only from about as many images as it has SMs
        many = self.as_batch >= target.sms // 2
        self.chained = many if schedule == "auto" else schedule == "throughput"
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
        self.steps[-1] = dataclasses.replace(step, bytes_l2=self._bytes_l2(step))

    def dtype_of(self, op: str) -> torch.dtype:
        """Return what an op multiplies in: blocks may do so in int8."""
        in_block = op in ("conv1", "first_stage", "stage", "conv3")
        return torch.int8 if self.int8 is not None and in_block else self.dtype

    def itemsize(self, name: str) -> int:
        """Return the bytes of an element: what blocks read and write may be int8."""
        in_block = name == "maxpool" or name.startswith("layer")
        return 1 if self.int8 is not None and in_block else super().itemsize(name)

    def scales(self) -> dict[str, float]:
        """Return those of what users may ask for: a layer's last block writes its buffer last."""
        if self.int8 is None:
            return {}
        found = {"stem": self.int8.stem, "embedding": self.int8.blocks[-1].out}
        layers = ((block.name.partition(".")[0], block.out) for block in self.int8.blocks)
        return found | {f"{layer}.0.out": out for layer, out in layers}

    def note(self, text: str) -> None:
        """Say of the last step why its kernel was chosen."""
        self.steps[-1] = dataclasses.replace(self.steps[-1], note=text)

    def _bytes_l2(self, step: Step) -> int:
        """Count what tiles load: their rows of x and columns of w, for each K that they multiply.

        Rows beyond the last are not loaded: all lanes read the last one again.
        """
        if "form" in step.options:
            layout, form = step.options["layout"], step.options["form"]
            return form.bytes_l2(layout, len(step.convs), self.dtype.itemsize)
        tile = step.options.get("tile")
        if tile is None:  # pools: a window's pixels come from L1 but for the first time
            return step.bytes_read + step.bytes_written
        conv = step.convs[0]
        images, m, n = 1, conv.N * conv.Ho * conv.Wo, conv.Co
        if step.op in ("conv1", "first_stage", "stage"):
            n = step.options["layout"].C * (self.config.scale if step.op == "conv1" else 1)
        if step.op == "stage":  # whose tiles are an image's
            images, m = conv.N, step.options["layout"].pixels
        rows = m  # of x; those beyond the last are not loaded
        if step.op == "conv_pool":  # whose tiles are a line's, and share two columns
            images, across = self._pooled_lines(conv, tile)
            m, rows = across * tile.block_m, conv.Wo + 2 * (across - 1)
        smaller = SMALLER[step.op]
        k = step.executed_macs // max(1, images * tile.area(m, n, **smaller))  # 1: an empty batch
        columns = tile.area(tile.block_m, n, **smaller) // tile.block_m
        whole = smaller.get("whole", False)
        across = -(-n // tile.block_n) if whole else tile.column_tiles(n)
        x, w = images * rows * across * k, images * tile.row_tiles(m) * columns * k
        beside = self.elements(step.reads[1]) if step.op == "conv3" else 0  # the shortcut
        if step.op == "first_stage":
            beside = 9 * self.elements(step.writes[0]) // self.config.scale  # the pooled split
        itemsize = self.buffers[step.reads[0]].itemsize
        # float32, a column; biases alone are little beside w
        table = w // max(1, k) * 4 * TABLE_ROWS if itemsize == 1 else 0
        moved = (x + w + beside) * itemsize + table
        return moved + step.bytes_written + 2 * step.bytes_scratch  # read and written

    # tiles: the measured one where the table has the geometry, else the rule's

    def gemm(self, op: str, m: int, k: int, n: int, *, shortcut: bool = False) -> TileConfig:
        m, dtype = self.scaled_pixels(m), self.dtype_of(op)
        rule = choose_gemm_tile(m, n, k, dtype.itemsize, self.target, shortcut=shortcut)
        return self._tuned(self.tiles.key(op, dtype, m=m, k=k, n=n), rule, n)

    def conv(self, op: str, m: int, channels: int, line: int) -> TileConfig:
        """Return the tile for m output pixels; 0 where a program walks a whole image."""
        m, dtype = self.scaled_pixels(m), self.dtype_of(op)
        rule = self.conv_rule(m, channels, line, dtype, walked=op == "first_stage")
        return self._tuned(self.tiles.key(op, dtype, m=m, k=line, n=channels), rule, channels)

    def conv_rule(
        self, m: int, channels: int, line: int, dtype: torch.dtype, *, walked: bool = False
    ) -> TileConfig:
        return choose_conv_tile(m, channels, line, dtype.itemsize, self.target, walked=walked)

    def pool(self, conv: ConvGeometry, line: int) -> TileConfig | None:
        """Return the tile of the stem's last convolution, if it is pooled where it is made.

        Small batches lack the programs for it, float32's product, of which it repeats some, is most
        of the time, and of some maps it repeats too much.
        """
        if not self.chained or self.dtype.itemsize != 2:
            return None
        m = self.scaled_pixels(conv.N * conv.Ho * conv.Wo)
        rule = choose_pool_tile(conv.Co, line, self.dtype.itemsize, self.target)
        lines, across = self._pooled_lines(dataclasses.replace(conv, N=1), rule)
        if lines * across * rule.block_m > MOST_REPEATED * conv.Ho * conv.Wo:
            return None
        key = self.tiles.key("conv_pool", self.dtype, m=m, k=line, n=conv.Co)
        return self._tuned(key, rule, conv.Co)

    def scaled_pixels(self, m: int) -> int:
        """Return the pixels by which tiles are chosen, of m in this batch."""
        return m // max(self.batch, 1) * self.as_batch

    def _tuned(self, key: str, rule: TileConfig, n: int) -> TileConfig:
        tile = self.tiles.get(key, rule)
        if tile.block_n > weight_columns(n):
            raise ConfigError(f"tile table: '{key}' has block_n {tile.block_n}, too wide for {n}")
        if tile.registers and self.target.backend != "cuda":
            raise ConfigError(f"tile table: '{key}' limits registers, which AMD GPUs cannot")
        return tile

    def form(self, block: BlockConfig, layout: PlanesLayout) -> tuple[ResidentForm | None, str]:
        """Return the form in which a block's splits stay in shared memory, if any, and why."""
        if block.is_first:
            return None, ""
        if not self.chained:
            return None, "tiled: one launch a split gives more programs than one an image"
        form, why = choose_form(layout, self.dtype_of("stage").itemsize, self.target)
        return form, f"{'tiled' if form is None else 'resident'}: {why}"

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
                self.pool_tile = self.pool(geometry, probe.line)
            if self.pool_tile is None:
                tile = self.conv(f"conv{r}x{r}", m, co, probe.line)
            else:  # the kernel that pools, and that of the map aside, read one layout
                rule = self.conv_rule(self.scaled_pixels(m), co, probe.line, self.dtype)
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
        lines, across = self._pooled_lines(conv.convs[0], tile)
        k = options["layout"].R * options["layout"].k
        executed = lines * tile.macs(across * tile.block_m, c, k, **SMALLER["conv_pool"])
        self.step(
            conv.name, "conv_pool", conv.reads, (target,), conv.convs, None, executed, options
        )
        return target

    def _pooled_lines(self, conv: ConvGeometry, tile: TileConfig) -> tuple[int, int]:
        """Return the lines of the map that are computed, some twice, and the tiles of a line."""
        bands, across = pool_programs(conv.Ho, conv.Wo, tile.block_m)
        return conv.N * bands * (2 * POOL_BAND + 1), across

    def block(self, block: BlockConfig, trunk: str) -> str:
        config, (n, h, w, ci) = self.config, self.nhwc(trunk)
        layer = block.name.partition(".")[0]
        c, groups, convs = pad_channels(block.width), config.scale, config.num_convs
        ho, wo = out_size(h, block.stride), out_size(w, block.stride)
        m, m_out = n * h * w, n * ho * wo
        split = ConvGeometry(n, h, w, block.width, block.width, 3, block.stride, config.cardinality)
        form, note = self.form(block, PlanesLayout(self.as_batch, h, w, c, MIN_BLOCK))
        if form is None:
            op = "first_stage" if block.is_first else "stage"
            chained = self.chained and not block.is_first
            tile = self.conv(op, 0 if chained else m_out, c, 3 * c)
            layout = PlanesLayout(n, h, w, c, tile.block_k)
        else:
            layout = PlanesLayout(n, h, w, c, MIN_BLOCK)
        count = groups if block.is_first else convs
        name = f"{layer}.0.planes" if block.is_first else f"{layer}.planes"
        planes = self.planes(name, count, layout)
        y = self.buffer(f"{layer}.y", groups * c, ho, wo)

        pointwise = self.gemm("conv1", m, ci, groups * c)
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
            moved: tuple[Moved, ...] = (("resident_stage", convs * stored, convs * m * c),)
            executed = form.macs(layout, convs)
            options["form"] = form
            self.step(name, "resident_stage", (planes,), (y,), splits, moved, executed, options)
        elif block.is_first:
            options |= {"tile": tile, "stride": block.stride}
            moved = ((op, groups * stored, m_out * groups * c),)
            executed = 3 * convs * tile.macs(m_out, c, layout.k)
            self.step(name, op, (planes,), (y,), splits, moved, executed, options)
        else:
            options |= {"tile": tile, "chained": chained}
            # each split reads its plane and writes its group of y; all but the last add to a plane
            adds = [m * c if i + 1 < convs else 0 for i in range(convs)]
            moved = ((op, convs * stored, convs * m * c, sum(adds)),)
            if not chained:
                moved = tuple((op, stored + add, m * c + add) for add in adds)
            executed = 3 * convs * n * tile.macs(layout.pixels, c, layout.k, **SMALLER[op])
            self.step(name, op, (planes,), (planes, y), splits, moved, executed, options)
        self.note(note)
        if block.is_first:
            return self.project(block, y, trunk)
        co = block.out_channels
        tile = self.gemm("conv3", m, groups * c, co, shortcut=True)
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
        tile = self.gemm("conv3", m, k, co)
        itemsize = self.dtype_of("conv3").itemsize
        rule = choose_gemm_tile(self.scaled_pixels(m), co, ci, itemsize, self.target)
        block_ks = min(tile.block_k, rule.block_k)
        second = dataclasses.replace(tile, block_k=block_ks)  # loop, over the shortcut's channels
        conv3 = ConvGeometry(n, ho, wo, block.width * self.config.scale, co)
        self.step(
            f"{block.name}.conv3", "conv3_project", (y, trunk), (out,), (conv3, shortcut),
            (("conv3", m * k + m * ci, m * co),),
            sum(t.macs(m, co, size, **SMALLER["conv3"]) for t, size in ((tile, k), (second, ci))),
            {"H": h, "W": w, "stride": stride, "tile": tile, "block_ks": block_ks},
        )  # fmt: skip
        return out

    def head(self, trunk: str) -> None:
        n, _, _, channels = self.nhwc(trunk)
        classes = self.config.num_classes
        self.buffer("embedding", channels)
        self.step("global_pool", "global_pool", (trunk,), ("embedding",))
        if classes:
            self.buffer("logits", classes)
            tile = self.gemm("linear", n, channels, classes)
            geometry = ConvGeometry(n, 1, 1, channels, classes)
            executed = tile.macs(n, classes, channels, **SMALLER["linear"])
            self.step(
                "fc", "linear", ("embedding",), ("logits",), (geometry,), None, executed,
                {"tile": tile},
            )  # fmt: skip
