"""The warps of a group run in lockstep: one instruction at once, for warps of one CTA or of many.

A register is an array [warps or 1, 32 or 1]: what is uniform stays narrow. Arrays are replaced on
write and never changed, so a copy of a register shares its array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .bulk_groups import BulkGroups
from .clocks import Agents
from .types import LANES, Array, full

if TYPE_CHECKING:
    from .batch import Batch
    from .parse import Instruction
    from .parts import Join

AGENTS = ("warp", "cta", "block", "clock", "proxy", "agent")  # what makes Agents, by row
READY, BLOCKED, DONE = "ready", "blocked", "done"
RACE, SERIALIZED = "race", "serialized"  # what touching a register in flight is


class Pipeline:
    """Asynchronous operations in flight are in committed groups, oldest first, and the open one."""

    def __init__(self, groups: list[list] | None = None) -> None:
        self.groups = [[]] if groups is None else groups

    def add(self, operation) -> None:
        self.groups[-1].append(operation)

    def commit(self) -> None:
        self.groups.append([])

    def wait(self, keep: int) -> list:
        """Let go of all but the newest `keep` committed groups; return their operations."""
        n = max(0, len(self.groups) - 1 - keep)
        done, self.groups = self.groups[:n], self.groups[n:]
        return [operation for group in done for operation in group]

    @property
    def flying(self) -> list:
        return [operation for group in self.groups for operation in group]

    def take(self, rows: Array) -> Pipeline:
        """Return the part of some rows of the group."""
        return Pipeline([[operation.take(rows) for operation in group] for group in self.groups])


class Group(Agents):
    """A Group has one row per warp, ordered by CTA. It may be split, but never grows.

    Registers of lanes that are not in `mask` [warps, 32] hold anything.
    """

    def __init__(
        self, batch: Batch, regs: list[Array], warp, cta, block, clock, proxy, agent
    ) -> None:
        super().__init__(warp, cta, block, clock, proxy, agent, batch.launch.columns)
        self.batch, self.launch, self.regs = batch, batch.launch, regs
        self.pc, self.state = 0, READY
        self.mask: Array | None = None  # None: all lanes
        self.joins: tuple[Join, ...] = ()  # where it meets its other lanes, outermost first
        self.turns = self.steps = self.polls = 0  # turns that it gave to others; instructions
        self.polling: list = []  # what it last polled
        self.copies, self.mmas = Pipeline(), Pipeline()  # cp.async, wgmma
        self.bulks = BulkGroups(len(warp))  # cp.async.bulk out of shared memory
        self.moves: dict[str, list] = {}  # tcgen05.ld, .st: (granules, row of each, *more)
        # registers that an operation in flight writes: [warps, ...] results, and how to finish,
        # with the kind of finding that touching them earlier is
        self.acc: dict[tuple[int, ...], Array] = {}
        self.inflight: dict[tuple[int, ...], tuple[Callable[[Group], None], str]] = {}
        self.renamed: dict[tuple[int, ...], set[int]] = {}  # registers that a mov made of those
        self.released, self.released_proxy = np.zeros_like(clock), np.zeros_like(proxy)
        self._count_rows()

    def release(self) -> None:
        """Pass a fence: relaxed arrivals from here on carry what happened before."""
        self.released, self.released_proxy = self.clock.copy(), self.proxy.copy()
        self.tick()

    def _count_rows(self) -> None:
        self.live: dict[int, Array | None] = {}  # by load: the lanes that it matters to
        n = len(self.warp)
        self.shape = (n, LANES)
        self.all = np.arange(n * LANES)
        self.lane_row = np.repeat(np.arange(n), LANES)
        self.lane_cta = np.repeat(self.cta, LANES)
        if self.mask is None:
            self.active, self.leaders = self.all, self.all[::LANES]
        else:
            self.active = np.flatnonzero(self.mask)
            self.leaders = np.arange(n) * LANES + self.mask.argmax(axis=1)

    def set_mask(self, lanes: Array) -> None:
        """Have only these lanes, [warps, 32]."""
        self.mask = None if lanes.all() else lanes
        self._count_rows()

    @property
    def lanes(self) -> Array:
        """Return which lanes it has, [warps, 32]."""
        return np.ones(self.shape, np.bool_) if self.mask is None else self.mask

    @property
    def flying(self) -> bool:
        """Return whether copies, products or moves are in flight."""
        return bool(self.copies.flying or self.mmas.flying or any(self.moves.values()))

    def __len__(self) -> int:
        return len(self.warp)

    def value(self, slot: int) -> Array:
        """Return a register for every lane."""
        return full(self.regs[slot], len(self))

    def of_lane(self, slot: int, lane: int) -> int:
        """Return what one lane, counted from those of the first warp, has in a register."""
        return int(self.value(slot).reshape(-1)[lane])

    def values(self, slots: Sequence[int]) -> Array:
        """Return 32-bit registers for all lanes: [n, warps, 32], contiguous whatever the shapes."""
        out = np.empty((len(slots), *self.shape), np.uint32)
        for i, slot in enumerate(slots):
            out[i] = self.regs[slot]
        return out

    def merge(self, slot: int, values: Array, lanes: Array) -> None:
        """Write lanes of a register, keeping the others."""
        if lanes is self.all:
            self.regs[slot] = values.reshape(self.shape)
        else:
            changed = self.value(slot).flatten()
            changed[lanes] = values
            self.regs[slot] = changed.reshape(self.shape)

    def finish(self, key: tuple[int, ...]) -> None:
        """Write what an operation in flight leaves in registers."""
        self.renamed.pop(key, None)
        self.inflight.pop(key)[0](self)

    def settle(self, ins: Instruction) -> None:
        """Finish asynchronous operations whose registers are touched next, as ptxas would."""
        for key in list(self.inflight):
            if ins.slots.isdisjoint(key) and ins.slots.isdisjoint(self.renamed.get(key, ())):
                continue
            finish, kind = self.inflight[key]
            if ins.base == "mov" and kind == RACE and not set(key) & set(ins.destinations):
                # no instruction of the machine's, only other names: their use is what counts
                result = self.acc[key]
                finish(self)
                self.acc[key] = result
                self.renamed.setdefault(key, set()).update(ins.destinations)
                continue
            self.finish_early(key, ins)

    def finish_early(self, key: tuple[int, ...], ins: Instruction) -> None:
        """Report and finish an operation whose registers are needed before any wait for them."""
        text = "access to registers of an asynchronous operation in flight"
        self.launch.report(self.inflight[key][1], self, ins, 0, 0, text)
        self.finish(key)

    def part(self, lanes: Array, joins: tuple[Join, ...]) -> Group:
        """Return a group of some lanes [warps, 32], without what is in flight."""
        rows = np.asarray(lanes.any(axis=1))
        regs = list(self.regs) if rows.all() else [_take(r, rows) for r in self.regs]
        other = Group(self.batch, regs, *(getattr(self, name)[rows] for name in AGENTS))
        other.released, other.released_proxy = self.released[rows], self.released_proxy[rows]
        other.bulks = self.bulks.take(rows)
        other.bulks.forget(~lanes[rows])
        other.pc, other.joins, other.turns, other.steps = self.pc, joins, self.turns, self.steps
        other.set_mask(lanes[rows])
        return other

    def split(self, keep: Array) -> Group:
        """Keep the rows where `keep` [warps] holds; a new group has the others."""
        other = Group(
            self.batch, [_take(r, ~keep) for r in self.regs],
            *(getattr(self, name)[~keep] for name in AGENTS),
        )  # fmt: skip
        other.released, other.released_proxy = self.released[~keep], self.released_proxy[~keep]
        self.released, self.released_proxy = self.released[keep], self.released_proxy[keep]
        other.pc, other.state, other.joins = self.pc, self.state, self.joins
        other.turns, other.steps, other.polls = self.turns, self.steps, self.polls
        other.polling = self.polling
        other.copies, self.copies = self.copies.take(~keep), self.copies.take(keep)
        other.mmas, self.mmas = self.mmas.take(~keep), self.mmas.take(keep)
        other.bulks, self.bulks = self.bulks.take(~keep), self.bulks.take(keep)
        numbers, rest = np.cumsum(keep) - 1, np.cumsum(~keep) - 1
        for kind, moves in self.moves.items():
            other.moves[kind] = [(at[~keep[of]], rest[of[~keep[of]]], *x) for at, of, *x in moves]
            self.moves[kind] = [(at[keep[of]], numbers[of[keep[of]]], *x) for at, of, *x in moves]
        for key, value in self.acc.items():
            other.acc[key], self.acc[key] = value[~keep], value[keep]
        other.inflight = dict(self.inflight)
        other.renamed = {key: set(slots) for key, slots in self.renamed.items()}
        self.regs = [_take(r, keep) for r in self.regs]
        self.warp, self.cta, self.block = self.warp[keep], self.cta[keep], self.block[keep]
        self.clock, self.proxy, self.agent = self.clock[keep], self.proxy[keep], self.agent[keep]
        self._refresh()
        if self.mask is None:
            self._count_rows()
        else:
            lanes = self.mask
            self.set_mask(lanes[keep])
            other.set_mask(lanes[~keep])
        return other


def _take(register: Array, rows: Array) -> Array:
    return register if register.shape[0] == 1 else register[rows]
