"""The torch backend runs library convolutions, in place wherever the network allows it."""

from __future__ import annotations

from ..config import BlockConfig
from .schedule import Schedule
from .types import ConvGeometry, out_size


class TorchSchedule(Schedule):
    backend = "torch"

    def conv(
        self, name: str, op: str, source: str, target: str, channels: int, R: int, stride: int
    ) -> str:
        """Add a convolution with ReLU from one buffer into a new one."""
        geometry = ConvGeometry(*self.nhwc(source), channels, R, stride)
        self.buffer(target, channels, geometry.Ho, geometry.Wo)
        self.step(name, op, (source,), (target,), (geometry,))
        return target

    def stem(self) -> str:
        channels, mid = self.config.stem_channels, self.config.stem_width
        if not self.config.deep_stem:
            return self.conv("conv1", "conv", "input", "stem", channels, 7, 2)
        source = self.conv("conv1.0", "conv", "input", "stem.0", mid, 3, 2)
        source = self.conv("conv1.3", "conv", source, "stem.1", mid, 3, 1)
        return self.conv("conv1.6", "conv", source, "stem", channels, 3, 1)

    def maxpool(self, source: str) -> str:
        _, h, w, c = self.nhwc(source)
        target = self.buffer("maxpool", c, out_size(h, 2), out_size(w, 2))
        self.step("maxpool", "maxpool", (source,), (target,))
        return target

    def block(self, block: BlockConfig, trunk: str) -> str:
        hidden = block.width * self.config.scale
        y = self.conv(f"{block.name}.conv1", "conv1", trunk, f"{block.name}.y", hidden, 1, 1)
        if block.is_first:
            y = self.first_stage(block, y)
            trunk = self.shortcut(block, trunk)
        else:
            self.stage(block, y)
        # trunk = relu(trunk + conv3(y)), in place: one buffer lives through a whole layer
        geometry = ConvGeometry(*self.nhwc(y), block.out_channels)
        self.step(f"{block.name}.conv3", "conv3", (y, trunk), (trunk,), (geometry,))
        return trunk

    def split_convs(self, block: BlockConfig, y: str) -> tuple[ConvGeometry, ...]:
        n, h, w, _ = self.nhwc(y)
        width, groups = block.width, self.config.cardinality
        geometry = ConvGeometry(n, h, w, width, width, 3, block.stride, groups)
        return (geometry,) * self.config.num_convs

    def stage(self, block: BlockConfig, y: str) -> None:
        """Add the hierarchical chain, in place in y; at scale 1 the convolution takes y whole."""
        convs = self.split_convs(block, y)
        e = convs[0].activations
        launches = [("conv", e, e)] if self.config.scale == 1 else self.chain(len(convs), e)
        self.step(f"{block.name}.convs", "stage", (y,), (y,), convs, tuple(launches))

    def chain(self, count: int, e: int) -> list[tuple[str, int, int]]:
        """List the launches on splits of e elements, through one contiguous scratch split z.

        z = copy of split 0; per split: z = conv(z), split = z, z += next split.
        """
        launches = [("copy", e, e)]
        for i in range(count):
            launches += [("add", 2 * e, e)] if i else []
            launches += [("conv", e, e), ("copy", e, e)]
        return launches

    def first_stage(self, block: BlockConfig, y: str) -> str:
        """Add independent splits and the pooled last one, gathered by one concatenation."""
        convs, scale = self.split_convs(block, y), self.config.scale
        ho, wo = convs[0].Ho, convs[0].Wo
        out = self.buffer(f"{block.name}.z", block.width * scale, ho, wo)
        e, eo = self.elements(y) // scale, self.elements(out) // scale
        launches = [("conv", e, eo)] if scale == 1 else self.independent(len(convs), e, eo)
        self.step(f"{block.name}.convs", "first_stage", (y,), (out,), convs, tuple(launches))
        return out

    def independent(self, count: int, e: int, eo: int) -> list[tuple[str, int, int]]:
        """List the launches on splits of e elements, of which outputs of eo are made."""
        whole = (count + 1) * eo
        return [("copy", e, e), ("conv", e, eo)] * count + [("pool", e, eo), ("cat", whole, whole)]

    def shortcut(self, block: BlockConfig, trunk: str) -> str:
        """Add the 1x1 projection; where avg_down, an average pool takes the stride before it."""
        n, h, w, ci = self.nhwc(trunk)
        ho, wo = out_size(h, block.stride), out_size(w, block.stride)
        out = self.buffer(f"{block.name}.out", block.out_channels, ho, wo)
        pooled = self.config.avg_down and block.stride > 1
        geometry = ConvGeometry(n, h, w, ci, block.out_channels, stride=block.stride)
        launches = None
        if pooled:
            geometry = ConvGeometry(n, ho, wo, ci, block.out_channels)
            e = n * ho * wo * ci
            launches = (("pool", n * h * w * ci, e), ("conv", e, self.elements(out)))
        self.step(
            f"{block.name}.downsample", "shortcut", (trunk,), (out,), (geometry,), launches,
            options={"pooled": pooled},
        )  # fmt: skip
        return out
