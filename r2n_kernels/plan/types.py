"""What a plan is made of: convolution geometries, buffers and steps.

Conventions: only convolutions and the classifier count as MACs and activations (facts of the timm
model card); bytes are those of activations, each launch's inputs read once and its outputs written
once; weights are stated apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ..config import Res2NetConfig


@dataclass(frozen=True)
class ConvGeometry:
    """One convolution (a linear layer is a 1x1 on one pixel). Padding is R // 2."""

    N: int
    H: int  # of the input
    W: int
    Ci: int
    Co: int
    R: int = 1  # kernel height and width
    stride: int = 1
    groups: int = 1

    @property
    def Ho(self) -> int:
        return out_size(self.H, self.stride)

    @property
    def Wo(self) -> int:
        return out_size(self.W, self.stride)

    @property
    def activations(self) -> int:
        return self.N * self.Ho * self.Wo * self.Co

    @property
    def macs(self) -> int:
        return self.activations * (self.Ci // self.groups) * self.R * self.R

    @property
    def weights(self) -> int:
        """Elements of weight and bias."""
        return self.Co * (self.Ci // self.groups) * self.R * self.R + self.Co


def out_size(size: int, stride: int) -> int:
    """Of a convolution or pooling that keeps the size at stride 1: each halving rounds up."""
    return -(-size // stride)


@dataclass(frozen=True)
class Buffer:
    """A tensor that steps read and write, N x C x H x W, channels innermost in memory.

    planes: instead [planes, rows, C] in a padded layout, whose gaps hold zeros for good.
    """

    name: str
    shape: tuple[int, ...]
    itemsize: int
    planes: bool = False

    @property
    def nbytes(self) -> int:
        total = self.itemsize
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True)
class Launch:
    """One call into a kernel or a library, and the activations that it moves.

    bytes_scratch: intermediates that the launch itself writes and reads again. They live in L2, and
    are part of neither other figure.
    """

    what: str
    bytes_read: int
    bytes_written: int
    bytes_scratch: int = 0


@dataclass(frozen=True)
class Step:
    """One unit of work. `reads` and `writes` name buffers; one in both is updated in place."""

    name: str  # path in timm's names, e.g. "layer3.5.conv3"
    op: str  # conv, maxpool, conv1, stage, first_stage, conv3, shortcut, pool, fc, ...
    convs: tuple[ConvGeometry, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    launches: tuple[Launch, ...]
    executed_macs: int
    frees: tuple[str, ...] = ()  # buffers that no later step reads
    options: Mapping[str, Any] = field(default_factory=dict)  # what else the op's kernel is told
    # What SMs load and store, operands as often as tiles load them; 0 where a library does it.
    bytes_l2: int = 0

    @property
    def macs(self) -> int:
        return sum(conv.macs for conv in self.convs)

    @property
    def weights(self) -> int:
        """Elements of weights and biases."""
        return sum(conv.weights for conv in self.convs)

    @property
    def bytes_read(self) -> int:
        return sum(launch.bytes_read for launch in self.launches)

    @property
    def bytes_written(self) -> int:
        return sum(launch.bytes_written for launch in self.launches)


@dataclass(frozen=True)
class Plan:
    """What one forward pass does. Sums are over the whole batch."""

    config: Res2NetConfig
    batch: int
    height: int
    width: int
    dtype: torch.dtype
    backend: str
    steps: tuple[Step, ...] = field(repr=False)
    buffers: dict[str, Buffer] = field(repr=False)
    features: tuple[str, ...] = field(repr=False)  # buffers of feature maps 0 .. 4

    @cached_property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return sum(step.macs for step in self.steps)

    @cached_property
    def executed_macs(self) -> int:
        """Multiply-accumulates including what padding of channels and tiles wastes."""
        return sum(step.executed_macs for step in self.steps)

    @cached_property
    def activations(self) -> int:
        """Elements that convolutions and the classifier write."""
        return sum(conv.activations for step in self.steps for conv in step.convs)

    @cached_property
    def launches(self) -> int:
        return sum(len(step.launches) for step in self.steps)

    @cached_property
    def bytes_read(self) -> int:
        return sum(step.bytes_read for step in self.steps)

    @cached_property
    def bytes_written(self) -> int:
        return sum(step.bytes_written for step in self.steps)

    @cached_property
    def bytes_scratch(self) -> int:
        return sum(launch.bytes_scratch for step in self.steps for launch in step.launches)

    @cached_property
    def bytes_l2(self) -> int:
        """What SMs load and store: through L2, where the other figures may reach memory."""
        return sum(step.bytes_l2 for step in self.steps)

    @cached_property
    def weight_bytes(self) -> int:
        return sum(step.weights for step in self.steps) * self.dtype.itemsize

    @cached_property
    def peak_bytes(self) -> int:
        """Most bytes of buffers alive at once, the input included, scratch excluded."""
        live = {"input"}
        peak = 0
        for step in self.steps:
            live |= set(step.writes)
            peak = max(peak, sum(self.buffers[name].nbytes for name in live))
            live -= set(step.frees)
        return peak

    @cached_property
    def workspace_bytes(self) -> int:
        """Of all buffers but the input: what a backend that keeps them holds."""
        return sum(b.nbytes for name, b in self.buffers.items() if name != "input")

    def steps_for(self, wanted: Sequence[str]) -> tuple[Step, ...]:
        """The leading steps after which all wanted buffers hold their final values."""
        last = max(i for i, step in enumerate(self.steps) if set(step.writes) & set(wanted))
        return self.steps[: last + 1]

    def distinct_steps(self) -> list[tuple[Step, int]]:
        """Return one step of each kind, the first, and how many are alike.

        Alike are steps of one op with the same geometry of convolutions and buffers and the same
        options: their kernels do the same work.
        """
        kinds: dict[object, list[Step]] = {}
        for step in self.steps:
            shapes = tuple(self.buffers[name].shape for name in (*step.reads, *step.writes))
            kind = (step.op, step.convs, shapes, tuple(step.options.items()))
            kinds.setdefault(kind, []).append(step)
        return [(alike[0], len(alike)) for alike in kinds.values()]

    def feature_shape(self, index: int) -> tuple[int, ...]:
        """[N, C, H, W] of a feature map."""
        return self.buffers[self.features[index]].shape

    def __str__(self) -> str:
        head = (
            f"{self.batch} x {self.config.in_chans} x {self.height} x {self.width} "
            f"{str(self.dtype).removeprefix('torch.')} on '{self.backend}': "
            f"{self.macs / 1e9:.3f} GMACs ({self.executed_macs / self.macs:.3f}x executed), "
            f"{self.launches} launches, {(self.bytes_read + self.bytes_written) / 1e6:.1f} MB moved"
        )
        rows = [
            f"{step.name:18} {step.op:12} {len(step.launches):3}  {step.macs / 1e6:10.1f} MMAC"
            f"  {(step.bytes_read + step.bytes_written) / 1e6:8.2f} MB"
            for step in self.steps
        ]
        return "\n".join([head, *rows])
