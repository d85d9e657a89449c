"""cp.async copies from global to shared memory, in flight until waited for."""

from __future__ import annotations

import copy as copying

import numpy as np

from ..batch import RANDOM
from ..errors import UnsupportedError
from ..group import Group, Pipeline
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import LANES, Array
from .bulk import bulk
from .mbarrier import barrier_of, note_use, places

LATER, FETCH, LAND = range(3)  # what has happened when the instruction is over


class AsyncCopy:
    """An AsyncCopy is a group's cp.async; it reads and writes when it lands unless told earlier."""

    def __init__(
        self, g: Group, size: int, to: Array, to_lanes: Array, source: Array, source_lanes: Array
    ) -> None:
        """`to` [n] and `source` [m] are byte offsets; lanes without a source get zeros."""
        shared, memory = g.batch.shared, g.launch.memory
        self.size = size
        self.to, self.rows = to, g.lane_row[to_lanes]
        self.source, self.source_rows = source, g.lane_row[source_lanes]
        self.filled = (
            slice(None) if len(to) == len(source) else np.isin(to_lanes, source_lanes)
        )  # fmt: skip
        self.to_granules = shared.granules(to, size)
        self.source_granules = memory.granules(source, size)
        self.stamp = memory.shadow.new_stamp() if memory.shadow else 0
        self.values: Array | None = None
        self.landed = False

    def fetch(self, g: Group) -> None:
        if self.values is None:
            source = g.launch.memory.whole(self.size)
            self.values = np.zeros(len(self.to), source.dtype)
            self.values[self.filled] = source.take(self.source // self.size)

    def land(self, g: Group) -> None:
        if not self.landed:
            self.fetch(g)
            g.batch.shared.whole(self.size)[self.to // self.size] = self.values
            self.landed = True

    def retire(self, g: Group) -> None:
        """Complete the copy: the issuing threads have waited."""
        self.land(g)
        shared, memory = g.batch.shared.shadow, g.launch.memory.shadow
        if shared is not None and memory is not None:
            shared.retire_writes(g, self.to_granules, self.rows)
            memory.retire_reads(g, self.source_granules, self.source_rows, self.stamp)

    def take(self, rows: Array) -> AsyncCopy:
        """Return the part of some rows [warps] of the group, for a group of those alone."""
        part, numbers = copying.copy(self), np.cumsum(rows) - 1
        to, source = rows[self.rows], rows[self.source_rows]
        part.to, part.to_granules = self.to[to], self.to_granules[to]
        part.source, part.source_granules = self.source[source], self.source_granules[source]
        part.rows = numbers[self.rows[to]]
        part.source_rows = numbers[self.source_rows[source]]
        if not isinstance(self.filled, slice):
            part.filled = self.filled[to]
        if self.values is not None:
            part.values = self.values[to]
        return part


@op("memory", "cp")
def _async_copy(k: Kernel, ins: Instruction) -> Run:
    modifiers = ins.modifiers
    if "bulk" in modifiers:
        return bulk(k, ins)
    if modifiers[:3] == ["async", "mbarrier", "arrive"] and "noinc" in modifiers:
        return _arrive(k, ins)
    if modifiers[0] != "async" or "mbarrier" in modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    if "commit_group" in modifiers:
        return lambda g: g.copies.commit()
    if "wait_group" in modifiers or "wait_all" in modifiers:
        return _wait(int(ins.operands[0], 0) if ins.operands else 0, every="wait_all" in modifiers)
    return _issue(k, ins)


def _arrive(k: Kernel, ins: Instruction) -> Run:
    """Build an arrival of each lane, once its copies so far have landed: they do at once."""
    at = k.address(ins.operands[0], "shared")
    k.widths["shared"].add(8)

    def arrive(g: Group, lanes: Array) -> None:
        for copy in g.copies.flying:
            copy.retire(g)
        g.copies = Pipeline()
        for address, some, cta in places(g, ins, at(g, lanes), lanes):
            note_use(g, ins, address, some, cta)
            barrier = barrier_of(g.batch, ins, address, cta)
            for place, row in zip(cta, g.lane_row[some], strict=True):
                barrier.arrive(np.array([place]), g.clock[row], g.proxy[row])
        g.tick()

    return k.on_lanes(ins, arrive)


def _wait(keep: int, every: bool) -> Run:
    def wait(g: Group) -> None:
        if every:
            g.copies.commit()
        for copy in g.copies.wait(keep):
            copy.retire(g)

    return wait


def _issue(k: Kernel, ins: Instruction) -> Run:
    size = int(ins.operands[2], 0)
    given = None  # bytes that come from memory, the rest are zeros; a 64-bit one is a cache policy
    if len(ins.operands) > 3 and k.bits(ins.operands[3]) != 64:
        given = k.src(ins.operands[3], "u32")
    to_address = k.address(ins.operands[0], "shared")
    source_address = k.address(ins.operands[1], "global")
    k.widths["shared"].add(size)
    k.widths["global"].add(size)

    def issue(g: Group, lanes: Array) -> None:
        shared, memory = g.batch.shared, g.launch.memory
        to, to_lanes = shared.locate(g, ins, to_address(g, lanes), size, lanes)
        source_lanes = to_lanes
        if given is not None:
            count = g.value(given).reshape(-1)[to_lanes]
            if ((count != 0) & (count != size)).any():
                raise UnsupportedError(f"a partial source in {ins.text}")
            if not count.all():
                source_lanes = to_lanes[count != 0]
        source, source_lanes = memory.locate(
            g, ins, source_address(g, source_lanes), size, source_lanes
        )
        if not len(to):
            return
        copy = AsyncCopy(g, size, to, to_lanes, source, source_lanes)
        shared.write(g, ins, copy.to_granules, copy.rows, to_lanes % LANES, pending=True)
        shared.count("cp.async", g, to, size, to_lanes)
        if len(source):
            at, rows = copy.source_granules, copy.source_rows
            memory.read(g, ins, at, rows, source_lanes % LANES, pending=copy.stamp)
            memory.count("cp.async", g, source, size, source_lanes)
        if g.launch.schedule == RANDOM:
            when = g.launch.rng.integers(3)
            if when == FETCH:
                copy.fetch(g)
            elif when == LAND:
                copy.land(g)
        g.copies.add(copy)

    return k.on_lanes(ins, issue)
