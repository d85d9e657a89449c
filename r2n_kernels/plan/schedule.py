"""Schedules of all backends share the walk through the network, buffers and steps."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import torch

from ..config import BlockConfig, Res2NetConfig
from .types import Buffer, ConvGeometry, Launch, Plan, Step

Moved = tuple[str, int, int] | tuple[str, int, int, int]  # what, elements read, written, scratch


class Schedule(ABC):
    """Walk the network once and write down what a backend does."""

    backend: ClassVar[str]

    def __init__(
        self, config: Res2NetConfig, batch: int, height: int, width: int, dtype: torch.dtype
    ) -> None:
        self.config, self.batch, self.height, self.width = config, batch, height, width
        self.dtype = dtype
        self.steps: list[Step] = []
        self.buffers: dict[str, Buffer] = {}
        self.buffer("input", config.in_chans, height, width)

    def plan(self) -> Plan:
        trunk = self.stem()
        features = [trunk]
        trunk = self.maxpool(trunk)
        blocks = list(self.config.blocks())
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            trunk = self.block(block, trunk)
            if following is None or following.layer != block.layer:
                features.append(trunk)
        self.head(trunk)
        return Plan(
            self.config,
            self.batch,
            self.height,
            self.width,
            self.dtype,
            self.backend,
            _with_frees(self.steps),
            self.buffers,
            tuple(features),
            self.scales(),
        )

    def scales(self) -> dict[str, float]:
        """Return the scales of buffers that have one."""
        return {}

    @abstractmethod
    def stem(self) -> str:
        """Add the stem's steps, up to its activation; return the name of their last buffer."""

    @abstractmethod
    def maxpool(self, source: str) -> str: ...

    @abstractmethod
    def block(self, block: BlockConfig, trunk: str) -> str: ...

    def head(self, trunk: str) -> None:
        """Add the steps to the buffers "embedding" and, where there is a classifier, "logits"."""
        channels, classes = self.config.num_features, self.config.num_classes
        self.buffer("embedding", channels)
        self.step("global_pool", "global_pool", (trunk,), ("embedding",))
        if classes:
            self.buffer("logits", classes)
            conv = ConvGeometry(self.batch, 1, 1, channels, classes)
            executed, options = self.linear(conv)
            self.step("fc", "linear", ("embedding",), ("logits",), (conv,), None, executed, options)

    def linear(self, conv: ConvGeometry) -> tuple[int | None, Mapping[str, Any]]:
        """Return what the classifier's step executes, and its options."""
        return None, {}

    def buffer(self, name: str, *shape: int) -> str:
        self.buffers[name] = Buffer(name, (self.batch, *shape), self.itemsize(name))
        return name

    def itemsize(self, name: str) -> int:
        """Return the bytes of an element of a buffer."""
        return self.dtype.itemsize

    def elements(self, name: str) -> int:
        return prod(self.buffers[name].shape)

    def nhwc(self, name: str) -> tuple[int, int, int, int]:
        n, c, h, w = self.buffers[name].shape
        return n, h, w, c

    def step(
        self,
        name: str,
        op: str,
        reads: tuple[str, ...],
        writes: tuple[str, ...],
        convs: tuple[ConvGeometry, ...] = (),
        launches: Sequence[Moved] | None = None,
        executed: int | None = None,
        options: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Add a step; its launches are one over all buffers where nothing else is said."""
        if launches is None:
            read, written = (sum(map(self.elements, names)) for names in (reads, writes))
            launches = ((op, read, written),)
        read, written = (self.buffers[names[0]].itemsize for names in (reads, writes))
        sizes = read, written, written
        moved = tuple(
            Launch(what, *(count * size for count, size in zip(counts, sizes, strict=False)))
            for what, *counts in launches
        )
        if executed is None:  # what the libraries pad is theirs
            executed = sum(conv.macs for conv in convs)
        self.steps.append(
            Step(name, op, convs, reads, writes, moved, executed, options=options or {}, note=note)
        )


def _with_frees(steps: list[Step]) -> tuple[Step, ...]:
    """Note at each buffer's last use that it can go."""
    last = {name: i for i, step in enumerate(steps) for name in (*step.reads, *step.writes)}
    return tuple(
        dataclasses.replace(step, frees=tuple(n for n, at in last.items() if at == i))
        for i, step in enumerate(steps)
    )
