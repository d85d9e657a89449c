"""What frameworks launch for a Res2Net: timm in eager PyTorch, and torch.compile of it.

Plans like the engine's own, for rooflines; nothing runs them. Eager PyTorch launches every operator
(637 for the headline model). The compiler writes BatchNorm, ReLU, adds and the concatenation as
pointwise kernels between library convolutions: one behind each convolution (346).
"""

from __future__ import annotations

from ..config import BlockConfig
from ..plan.torch_schedule import TorchSchedule
from ..plan.types import ConvGeometry, out_size

Moves = list[tuple[str, int, int]]  # what, elements read, elements written


class EagerSchedule(TorchSchedule):
    """NCHW or channels_last alike: bytes are the same."""

    backend = "eager"
    fused = False

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
