"""A Memory is an address space: its bytes, what is mapped, and how lanes load and store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .clocks import Agents
from .counters import count_global, count_shared
from .races import Shadow
from .replicas import Stored
from .types import LANES, UINT, Array

if TYPE_CHECKING:
    from .group import Group
    from .launch import Launch
    from .parse import Instruction

GLOBAL_BASE = 1 << 52  # a fake address, and one that no process has
SHARED_BASE = 1024  # swizzles assume that shared memory starts on 1024 bytes
ALIGN = 1024
NULL = 1 << 16  # addresses below are a null pointer's
FAR = 1 << 20  # bytes from an argument beyond which its name says little
WINDOW = 1 << 24  # bytes of an address that say where in a CTA's shared memory; above: 1 + the rank


@dataclass(frozen=True)
class Part:
    """A Part is an array in a region, as a pointer to its first element sees it."""

    name: str
    start: int
    nbytes: int
    item: int  # bytes of an element
    dtype: str

    def element(self, off: int) -> str:
        """Return "x_ptr[12] of 100 fp32" for the element at an offset."""
        index, rest = divmod(off - self.start, self.item)
        inner = f" + {rest} bytes" if rest else ""
        return f"{self.name}[{index}]{inner} of {self.nbytes // self.item} {self.dtype}"


@dataclass(frozen=True)
class Region:
    """A Region is mapped bytes [start, stop) of an address space."""

    start: int
    stop: int
    name: str
    host: int | None = None  # where these bytes really are: what pointers in memory hold
    parts: tuple[Part, ...] = ()

    def distance(self, off: int) -> int:
        return max(self.start - off, off - self.stop + 1, 0)


class Memory:
    """A Memory has `copies`, one per CTA, `stride` bytes apart; global memory has one for all."""

    def __init__(
        self, launch: Launch, name: str, base: int, nbytes: int, granule: int,
        regions: Sequence[Region], *, copies: int | None = None, many: bool = False,
    ) -> None:  # fmt: skip
        self.launch, self.name, self.base = launch, name, base
        self.regions = sorted(regions, key=lambda region: region.start) or [Region(0, 0, "nothing")]
        self.starts = np.array([region.start for region in self.regions])
        self.stops = np.array([region.stop for region in self.regions])
        self._hosts = sorted((r.host, r.stop - r.start, r.start) for r in regions if r.host)
        self.shift = granule.bit_length() - 1
        padded = -(-nbytes // ALIGN) * ALIGN
        self.stride = 0 if copies is None else padded
        self.data = np.empty(padded * (copies or 1), np.uint8)
        self._near = self.regions[0]
        self.touched: dict[str, Array] | None = None
        self.shadow: Shadow | None = None
        if copies is None:
            n = len(self.data) >> self.shift
            self.touched = {kind: np.zeros(n, np.bool_) for kind in "rw"}
        if launch.track:
            self.shadow = Shadow(self, launch.columns, many=many, written=copies is None)

    def rows(self, elem: int, n: int = 1) -> Array:
        """Return all bytes as [places, n] unsigned integers of `elem` bytes."""
        return self.data.view(UINT[8 * elem]).reshape(-1, n)

    def whole(self, width: int) -> Array:
        """Return all bytes as elements of one access each, to be moved and nothing else."""
        return self.data.view(UINT[8 * width])

    def locate(
        self, g: Group, ins: Instruction, address: Array, width: int, lanes: Array
    ) -> tuple[Array, Array]:
        """Return accesses' offsets and lanes; misaligned or out of bounds ones are left out."""
        off, cta = address - self.base, None
        if np.bitwise_or.reduce(off) & (width - 1):
            bad = (off & (width - 1)) != 0
            where = self.describe(int(off[bad][0]))
            text = f"{self.name} address {address[bad][0]:#x}, width {width}: {where}"
            self._report("alignment", g, ins, lanes[bad][0], text)
            off, lanes = off[~bad], lanes[~bad]
        if self.stride and self.launch.kernel.cluster > 1 and len(off):
            off, cta = self._of_cluster(g, off + self.base, lanes)
        near = self._near
        if len(off) and (off.min() < near.start or off.max() + width > near.stop):
            if self._hosts and off.min() < 0:
                off = self._of_host(off)
            at = np.searchsorted(self.starts, off, "right") - 1
            fine = (at >= 0) & (off + width <= self.stops[at])
            if not fine.all():
                where = self.describe(int(off[~fine][0]))
                text = f"outside: {where} (width {width}, {(~fine).sum()} lanes)"
                self._report("bounds", g, ins, lanes[~fine][0], text)
                off, lanes, at = off[fine], lanes[fine], at[fine]
                cta = None if cta is None else cta[fine]
            if len(at):
                self._near = self.regions[at[0]]
        if self.stride:
            off = off + (g.lane_cta[lanes] if cta is None else cta) * self.stride
        return off, lanes

    def _of_cluster(self, g: Group, address: Array, lanes: Array) -> tuple[Array, Array]:
        """Return offsets of addresses in a cluster's shared memory, and whose they are."""
        size, rank = self.launch.kernel.cluster, address // WINDOW
        cta = g.lane_cta[lanes] // size * size + rank
        # what no CTA of the cluster has is out of bounds
        return np.where(rank < size, address % WINDOW - self.base, 1 << 40), cta

    def offsets(self, address: Array) -> Array:
        """Return the offsets of addresses, some of which may be the host's own."""
        off = address - self.base
        return self._of_host(off) if self._hosts and (off < 0).any() else off

    def _of_host(self, off: Array) -> Array:
        """Return offsets whose addresses came from memory, where the host's own ones lie."""
        address = off + self.base
        starts, sizes, places = np.array(self._hosts).T
        at = np.searchsorted(starts, address, "right") - 1
        behind = starts[at] + sizes[at] + ALIGN  # what is just behind one is to be named so
        near = (off < 0) & (at >= 0) & (address < behind)
        return np.where(near, address - starts[at] + places[at], off)

    def _report(self, kind: str, g: Group, ins: Instruction, lane: int, text: str) -> None:
        self.launch.report(kind, g, ins, lane // LANES, lane % LANES, text)

    def describe(self, off: int) -> str:
        """Return "byte 12 of argument x_ptr (64 bytes), x_ptr[3] of 16 fp32".

        Outside it is of the nearest region, or "null pointer", or "far from any argument".
        """
        off = off % self.stride if self.stride and off >= self.stride else off
        if self.touched is not None and 0 <= off + self.base < NULL:
            return f"null pointer + {off + self.base}" if off + self.base else "null pointer"
        region = min(self.regions, key=lambda r: r.distance(off))
        if self.touched is not None and region.distance(off) > FAR:
            if off < 0:
                return f"address {off + self.base:#x}, far from any argument"
            behind = off >= region.stop
            side = "past the end" if behind else "before the start"
            gap = off - region.stop if behind else region.start - off
            return f"far from any argument: {gap} bytes {side} of {region.name}"
        text = f"byte {off - region.start} of {region.name} ({region.stop - region.start} bytes)"
        if not region.parts:
            return text
        inside = [p for p in region.parts if p.start <= off < p.start + p.nbytes]
        return f"{text}, {(inside or region.parts)[0].element(off)}"

    def granules(self, off: Array, width: int) -> Array:
        """Return the granules [n, k] of accesses of `width` bytes."""
        return (off >> self.shift)[:, None] + np.arange(max(1, width >> self.shift))

    def read(self, who: Agents, ins, at: Array, rows: Array, lane: Array, **how: Any) -> None:
        """Note reads of granules at [n, k]."""
        if self.touched is not None:
            self.touched["r"][at] = True
        if self.shadow is not None:
            self.shadow.read(who, ins, at, rows, lane, **how)

    def write(self, who: Agents, ins, at: Array, rows: Array, lane: Array, **how: Any) -> None:
        if self.touched is not None:
            self.touched["w"][at] = True
        if self.shadow is not None:
            self.shadow.write(who, ins, at, rows, lane, **how)

    def count(self, kind: str, g: Group, off: Array, width: int, lanes: Array) -> None:
        """Add one instruction of a group to the traffic counters."""
        every = off
        if lanes is not g.all:
            every = np.full(len(g.all), -1)
            every[lanes] = off
        requests = every.reshape(-1, LANES)
        work = self.launch.work(g)
        if self.touched is not None:
            count_global(work.global_traffic(kind), requests, width)
        else:
            count_shared(work.shared_traffic(kind), requests, width)

    def load(
        self, g: Group, ins: Instruction, off: Array, elem: int, n: int, lanes: Array, kind: str
    ) -> Array:
        """Load [lanes, n] unsigned integers of `elem` bytes."""
        if not len(off):
            return np.zeros((0, n), UINT[8 * elem])
        if self.touched is not None or self.shadow is not None:
            self._note_load(g, ins, self.granules(off, elem * n), lanes)
        self.count(kind, g, off, elem * n, lanes)
        return self.rows(elem, n).take(off // (elem * n), axis=0)

    def _note_load(self, g: Group, ins: Instruction, at: Array, lanes: Array) -> None:
        rows, lane = g.lane_row[lanes], lanes % LANES
        if ins.order is not None:
            self.access(g, ins, at, rows, lane)
            return
        if self.shadow is not None:
            if ins.index not in g.live:
                g.live[ins.index] = g.launch.kernel.flow.live(g, ins)
            live = g.live[ins.index]
            if live is not None:  # what no lane makes use of is read in vain, and meets nobody
                if self.touched is not None:
                    self.touched["r"][at] = True
                of_lanes = live.reshape(-1)[lanes]
                at, rows, lane = at[of_lanes], rows[of_lanes], lane[of_lanes]
                if not len(at):
                    return
        self.read(g, ins, at, rows, lane)

    def access(
        self, g: Group, ins: Instruction, at: Array, rows: Array, lane: Array,
        wrote: Array | None = None,
    ) -> None:  # fmt: skip
        """Note strong accesses, as Shadow.access does."""
        order = ins.order
        assert order is not None
        if self.touched is not None:
            if order.reads:
                self.touched["r"][at] = True
            if order.writes:
                self.touched["w"][at] = True
        if self.shadow is not None:
            self.shadow.access(g, ins, at, rows, lane, order, wrote)

    def store(
        self, g: Group, ins: Instruction, off: Array, values: Array, lanes: Array, kind: str
    ) -> None:
        """Store values [lanes, n] at byte offsets `off`."""
        if not len(off):
            return
        n, elem = values.shape[1], values.dtype.itemsize
        view, place = self.rows(elem, n), off // (elem * n)
        stored = Stored(g, ins, view, place, values, lanes)
        at, rows, lane = None, g.lane_row[lanes], lanes % LANES
        if self.touched is not None or self.shadow is not None:
            at = self.granules(off, elem * n)
            if ins.order is None:
                self.write(g, ins, at, rows, lane, differs=stored.differs)
            else:
                self.access(g, ins, at, rows, lane)
        self.count(kind, g, off, elem * n, lanes)
        view[place] = values
        if self.touched is not None:
            self.launch.changes += 1
        if self.shadow is not None and at is not None and ins.order is None:
            self._look_for_clashes(g, ins, off, at, stored)

    def _look_for_clashes(
        self, g: Group, ins: Instruction, off: Array, at: Array, stored: Stored
    ) -> None:
        """Report lanes and CTAs that wrote to one place in one instruction."""
        assert self.shadow is not None
        values, rows, lane = stored.values, g.lane_row[stored.lanes], stored.lanes % LANES
        kept = stored.view.take(stored.place, axis=0)
        changed = np.zeros(len(off), np.bool_)
        if not np.array_equal(kept, values):
            changed = (kept != values).any(1)
            clash = stored.disagreeing()
            between = ~stored.close(values[stored.winners()], kept)
            if self.shadow.wblock is not None:  # between CTAs it is reported as such
                between &= (self.shadow.wblock[at] == g.block[rows][:, None]).all(1)
            clash |= between
            if clash.any():
                where = self.describe(int(off[clash][0]))
                text = f"lanes of one store write different values to {where}"
                self._report("race", g, ins, stored.lanes[clash][0], text)
        self.shadow.clash(g, ins, at, rows, lane, changed)
