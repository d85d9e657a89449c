"""A transfer moves bytes between rows of contiguous elements and 16-byte units of shared memory.

Loads complete on mbarriers and are done by a copy engine of their own, so that only who waited on
the right mbarrier may read what they wrote; stores belong to the thread that waits for its groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..batch import Batch
from ..clocks import Agents
from ..counters import Work
from ..errors import UnsupportedError
from ..group import Group
from ..memory import Memory
from ..parse import Instruction
from ..tensormaps import TF32, UNIT, Box
from ..types import LANES, TF32_HALF, TF32_MASK, Array
from .descriptors import swizzled


def units_of(box: Box, start: int) -> Array:
    """Return the absolute shared addresses [rows, units] of a box that lies at `start`."""
    at = start + np.arange(box.nbytes // UNIT) * UNIT
    return swizzled(at, box.swizzle).reshape(len(box.starts), -1)


def plain(g: Group, ins: Instruction, lane: int, start: int, nbytes: int) -> Box:
    """Return contiguous bytes as a box, in units of 16 bytes, which PTX asks for."""
    if start % UNIT or nbytes % UNIT:
        text = f"{nbytes} bytes at address {start:#x}: both must be multiples of {UNIT}"
        g.launch.report("alignment", g, ins, lane // LANES, lane % LANES, text)
    count = nbytes // UNIT
    return Box(
        np.array([start], np.int64), np.ones(1, np.bool_), (0, count), count, UNIT, 1, UNIT, -1, 0
    )


@dataclass
class Transfer:
    """A Transfer has row starts and units as byte offsets in their memories' data."""

    box: Box  # its starts are offsets in `memory`
    memory: Memory
    shared: Memory
    units: Array
    values: Array | None = None
    landed: bool = False

    def elements(self) -> Array:
        """Return the places of elements in bounds, [rows in bounds, columns]."""
        box = self.box
        return (box.starts[box.inside] // box.size)[:, None] + np.arange(*box.columns)

    def granules(self) -> Array:
        """Return the granules [rows in bounds, n] of what is in bounds."""
        box, shift = self.box, self.memory.shift
        low, high = (n * box.size for n in box.columns)
        start = box.starts[box.inside]
        n = max(1, (high - low) >> shift) if high > low else 0
        return ((start + low) >> shift)[:, None] + np.arange(n)

    def unit_granules(self) -> Array:
        return self.shared.granules(self.units.reshape(-1), UNIT)

    def fetch(self) -> Array:
        """Return what a load brings, [rows, units]."""
        if self.values is None:
            box, source = self.box, self.memory.whole(self.box.size)
            rows = np.zeros((len(box.starts), box.count), source.dtype)
            if box.fill:
                rows[:] = box.fill
            rows[box.inside, slice(*box.columns)] = source[self.elements()]
            if box.elemtype == TF32:
                rows = (rows + TF32_HALF) & TF32_MASK
            raw = rows.view(np.uint8)
            if box.spread == 2:  # 8 bytes, then 8 that nobody looks at
                raw = np.pad(raw.reshape(len(rows), -1, UNIT // 2), ((0, 0), (0, 0), (0, 8)))
            self.values = np.ascontiguousarray(raw).view(np.complex128).reshape(self.units.shape)
        return self.values

    def take(self) -> Array:
        """Return what a store takes, [rows, elements]."""
        if self.values is None:
            raw = self.shared.whole(UNIT)[self.units // UNIT]
            dtype = self.memory.whole(self.box.size).dtype
            self.values = raw.view(dtype).reshape(len(self.box.starts), self.box.count)
        return self.values

    def load(self) -> None:
        self.shared.whole(UNIT)[self.units // UNIT] = self.fetch()

    def store(self) -> None:
        box = self.box
        kept = self.take()[box.inside, slice(*box.columns)]
        self.memory.whole(box.size)[self.elements()] = kept
        self.memory.launch.changes += 1

    def count(self, kind: str, work: Work) -> None:
        """Add the bytes in bounds to the traffic counters."""
        box = self.box
        low, high = (n * box.size for n in box.columns)
        start = box.starts[box.inside]
        n = int(len(start) * (high - low))
        if self.memory is not self.shared:
            traffic = work.global_traffic(kind)
            sectors = ((start + high - 1) >> 5) - ((start + low) >> 5) + 1
            traffic.requests += 1
            traffic.bytes += n
            traffic.useful += n
            traffic.sectors += int(sectors.sum()) if n else 0
        shared = work.shared_traffic(kind)
        shared.requests += 1
        shared.bytes += box.nbytes
        shared.wavefronts += -(-box.nbytes // 128)


def checked(g: Group, ins: Instruction, row: int, lane: int, memory: Memory, box: Box) -> Box:
    """Return the box with offsets in memory for addresses, rows outside of it left out."""
    low, high = (n * box.size for n in box.columns)
    starts = memory.offsets(box.starts + low) - low
    at = np.searchsorted(memory.starts, starts + low, "right") - 1
    fine = (at >= 0) & (starts + high <= memory.stops[at])
    bad = box.inside & ~fine
    if high > low and bad.any():
        where = memory.describe(int(starts[bad][0]) + low)
        text = f"outside: {where} ({bad.sum()} rows of {high - low} bytes)"
        g.launch.report("bounds", g, ins, row, lane, text)
    return replace(box, starts=starts, inside=box.inside & fine & (high > low))


def shared_units(
    g: Group, ins: Instruction, row: int, lane: int, address: int, box: Box, align: int
) -> Array:
    """Return the offsets of a box's units in the batch's shared memory."""
    shared, (cta, address) = g.batch.shared, g.batch.owner(int(g.cta[row]), address)
    if box.row_bytes % UNIT:
        raise UnsupportedError(f"{ins.source}: rows of {box.row_bytes} bytes in {ins.text[:100]}")
    if address % align:
        text = f"shared address {address:#x} is no multiple of {align}"
        g.launch.report("alignment", g, ins, row, lane, text)
    off = units_of(box, address // UNIT * UNIT) - shared.base
    limit = g.launch.kernel.shared_bytes
    if off.min() < 0 or off.max() + UNIT > limit:
        text = f"outside: shared bytes {off.min()} to {off.max() + UNIT} of {limit}"
        g.launch.report("bounds", g, ins, row, lane, text)
        off = off.clip(0, limit - UNIT)
    return off + cta * shared.stride


def engine_of(batch: Batch, address: int) -> Agents:
    """Return the copy engine of the mbarriers at an address: one row per CTA."""
    engines: dict[int, Agents] = batch.state.setdefault("engines", {})
    kernel = batch.launch.kernel
    number = batch.state.setdefault("engine numbers", {}).setdefault(
        address, len(batch.state["engine numbers"]) % kernel.engines
    )
    if number not in engines:
        engines[number] = batch.agents(kernel.agents - kernel.engines + number)
    return engines[number]
