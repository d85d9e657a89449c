"""A plan is made of convolution geometries, buffers and steps.

Conventions: only convolutions and the classifier count as MACs and activations (facts of the timm
model card); bytes are those of activations, each launch's inputs read once and its outputs written
once; weights are stated apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import torch

from ..config import Res2NetConfig


@dataclass(frozen=True)
class ConvGeometry:
    """A ConvGeometry is one convolution (a linear layer is 1x1 on one pixel). Padding is R // 2."""

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
        """Count the elements of weight and bias."""
        return self.Co * (self.Ci // self.groups) * self.R * self.R + self.Co


def out_size(size: int, stride: int) -> int:
    """Return the output size of a layer that keeps it at stride 1: each halving rounds up."""
    return -(-size // stride)


@dataclass(frozen=True)
class Buffer:
    """Steps read and write such a tensor, N x C x H x W, channels innermost in memory.

    planes: instead [planes, rows, C] in a padded layout, whose gaps hold zeros for good.
    """

    name: str
    shape: tuple[int, ...]
    itemsize: int
    planes: bool = False

    @property
    def nbytes(self) -> int:
        return self.itemsize * prod(self.shape)


@dataclass(frozen=True)
class Launch:
    """A launch calls a kernel or a library once, and moves activations.

    bytes_scratch: intermediates that the launch itself writes and reads again. They live in L2, and
    are part of neither other figure.
    """

    what: str
    bytes_read: int
    bytes_written: int
    bytes_scratch: int = 0


@dataclass(frozen=True)
class Step:
    """A step reads and writes buffers, which it names; one in both is updated in place."""

    name: str  # path in timm's names, e.g. "layer3.5.conv3"
    op: str  # conv, maxpool, conv1, stage, first_stage, conv3, shortcut, global_pool, linear, ...
    convs: tuple[ConvGeometry, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    launches: tuple[Launch, ...]
    executed_macs: int
    frees: tuple[str, ...] = ()  # buffers that no later step reads
    options: Mapping[str, Any] = field(default_factory=dict)  # what else the op's kernel is told
    # What SMs load and store, operands as often as tiles load them; 0 where a library does it.
    bytes_l2: int = 0
    note: str = ""  # why this kernel, where there was a choice
    # The step that does the same without the output, and whose weights it has: one that only makes
    # a feature map runs where that is wanted, and counts in no sum.
    aside: str = ""

    @property
    def packed_as(self) -> str:
        """Return the name of its packed weights: its own, or of the step that it is aside of."""
        return self.aside or self.name

    @property
    def macs(self) -> int:
        return sum(conv.macs for conv in self.convs)

    @property
    def weights(self) -> int:
        """Count the elements of weights and biases."""
        return sum(conv.weights for conv in self.convs)

    @property
    def bytes_read(self) -> int:
        return sum(launch.bytes_read for launch in self.launches)

    @property
    def bytes_written(self) -> int:
        return sum(launch.bytes_written for launch in self.launches)

    @property
    def bytes_scratch(self) -> int:
        return sum(launch.bytes_scratch for launch in self.launches)


def _total(of_step: Callable[[Step], int]) -> cached_property[int]:
    """Make a property of a plan that sums a figure of its main steps, once."""
    return cached_property(lambda plan: sum(map(of_step, plan.main)))


@dataclass(frozen=True)
class Plan:
    """A plan says what one forward pass does. Sums are over the whole batch, of `main` steps."""

    config: Res2NetConfig
    batch: int
    height: int
    width: int
    dtype: torch.dtype
    backend: str
    steps: tuple[Step, ...] = field(repr=False)
    buffers: dict[str, Buffer] = field(repr=False)
    features: tuple[str, ...] = field(repr=False)  # buffers of feature maps 0 .. 4
    # of buffers that hold value / scale, int8 ones and their neighbours: after their last step
    scales: Mapping[str, float] = field(default_factory=dict, repr=False)

    macs = _total(lambda step: step.macs)  # useful multiply-accumulates
    executed_macs = _total(lambda step: step.executed_macs)  # and what padding and tiles waste
    # elements that convolutions and the classifier write
    activations = _total(lambda step: sum(conv.activations for conv in step.convs))
    launches = _total(lambda step: len(step.launches))
    bytes_read = _total(lambda step: step.bytes_read)
    bytes_written = _total(lambda step: step.bytes_written)
    bytes_scratch = _total(lambda step: step.bytes_scratch)
    # what SMs load and store: through L2, where the other figures may reach memory
    bytes_l2 = _total(lambda step: step.bytes_l2)

    @cached_property
    def main(self) -> tuple[Step, ...]:
        """Return the steps that a classification runs: all that are not `aside`."""
        return tuple(step for step in self.steps if not step.aside)

    @cached_property
    def weight_bytes(self) -> int:
        return sum(step.weights * self.itemsize(step) for step in self.main)

    def itemsize(self, step: Step) -> int:
        """Return the bytes of an element that a step reads, and of its weights."""
        read = [self.buffers[name] for name in step.reads]  # none in a model of a library's plan
        return read[0].itemsize if read else self.dtype.itemsize

    @cached_property
    def main_buffers(self) -> tuple[Buffer, ...]:
        """Return what the main steps read and write, the input first."""
        names = {name for step in self.main for name in (*step.reads, *step.writes)}
        return tuple(buffer for name, buffer in self.buffers.items() if name in names)

    @cached_property
    def workspace_bytes(self) -> int:
        """Count the main buffers but the input: what a backend that keeps them holds."""
        return sum(buffer.nbytes for buffer in self.main_buffers if buffer.name != "input")

    def steps_for(self, wanted: Sequence[str]) -> tuple[Step, ...]:
        """Return the leading steps after which all wanted buffers hold their final values.

        A step `aside` is one of them where its output is wanted.
        """
        last = max(i for i, step in enumerate(self.steps) if set(step.writes) & set(wanted))
        return tuple(
            step
            for step in self.steps[: last + 1]
            if not step.aside or set(step.writes) & set(wanted)
        )

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

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.") + (", blocks in int8" if self.scales else "")
        head = (
            f"{self.batch} x {self.config.in_chans} x {self.height} x {self.width} "
            f"{dtype} on '{self.backend}': "
            f"{self.macs / 1e9:.3f} GMACs ({self.executed_macs / self.macs:.3f}x executed), "
            f"{self.launches} launches, {(self.bytes_read + self.bytes_written) / 1e6:.1f} MB moved"
        )
        rows = [
            f"{step.name:18} {step.op:14} {len(step.launches):3}  {step.macs / 1e6:10.1f} MMAC"
            f"  {(step.bytes_read + step.bytes_written) / 1e6:8.2f} MB  {step.note}".rstrip()
            for step in self.steps
        ]
        return "\n".join([head, *rows])
