"""Lanes of a warp that part go on as groups of their own, and are one again where they meet.

They meet before the branch's post-dominator (a Join), or at an instruction that a warp executes as
one, as a shuffle. Whoever waits in a Join goes on without the others where those only poll, as
lanes do since sm_70; who lacks lanes at a shuffle or a barrier waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .errors import UnsupportedError
from .group import AGENTS, BLOCKED, READY, Group
from .types import LANES, Array, full

if TYPE_CHECKING:
    from .batch import Batch

PATIENCE = 2 * LANES  # polls of a part before those that wait for it go on, the first time


class Join:
    """A Join is where parts of the group `whole` meet, before instruction `pc`."""

    def __init__(self, whole: Group, pc: int, seen: set[int]) -> None:
        self.whole, self.pc = whole, pc
        self.missing = len(whole.active)  # lanes
        self.waiting: list[Group] = []
        self.patience = PATIENCE
        self.seen = seen  # instructions executed since the outermost Join began


class Parts:
    """Parts knows who waits for lanes of its warps in a batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.meeting: list[Group] = []  # each at an instruction of whole warps
        warps = len(batch.places) * batch.launch.kernel.num_warps
        self.gone = np.zeros((warps, LANES), np.bool_)  # lanes that ended before others

    def diverge(self, g: Group, lanes: Array) -> None:
        """Part a group in two: those of its lanes that are in `lanes` [warps, 32], and others."""
        pc = self.batch.launch.kernel.post_dominators[g.pc]
        for key in list(g.inflight):
            g.finish(key)
        joins = g.joins
        if not joins or joins[-1].pc != pc:
            joins = (*joins, Join(g, pc, joins[0].seen if joins else set()))
        elif g.flying:
            self._refuse(g)
        self.batch.groups.remove(g)
        for part in (lanes & g.lanes, ~lanes & g.lanes):
            self.batch.groups.append(g.part(part, joins))

    def arrive(self, g: Group) -> None:
        """Wait for the others at the instruction where they meet; the last one frees all."""
        join = g.joins[-1]
        join.waiting.append(g)
        g.state = BLOCKED
        self._leave(join, g)

    def _leave(self, join: Join, g: Group) -> None:
        join.missing -= len(g.active)
        if not join.missing and join.waiting:
            self.release(join)

    def ended(self, g: Group) -> None:
        """Nobody waits any more for these lanes, which have ended."""
        self.gone[self._keys(g)] |= g.lanes
        for join in reversed(g.joins):
            self._leave(join, g)

    def release(self, join: Join) -> None:
        """Make one group of those that wait; what it lacks comes later, by itself."""
        pieces, join.waiting = join.waiting, []
        whole, husk = self._merge(pieces, join), join.whole
        whole.joins = pieces[0].joins[:-1]
        if husk.flying:
            mine = np.isin(self._keys(husk), self._keys(whole))
            if not np.array_equal(husk.lanes[mine], whole.lanes):
                self._refuse(whole)
            other = husk if mine.all() else husk.split(~mine)
            whole.copies, whole.mmas, whole.moves = other.copies, other.mmas, other.moves

    def release_those_behind(self, g: Group) -> None:
        """Let go on who waits for a group that only polls; the next time sooner."""
        for join in reversed(g.joins):
            if join.waiting:
                join.patience //= 4
                self.release(join)

    def release_any(self) -> bool:
        """Let go on all who wait in joins, where nobody else can; return whether there were any."""
        joins = {join: None for g in self.batch.groups for join in g.joins if join.waiting}
        for join in joins:
            if join.waiting:
                self.release(join)
        return bool(joins)

    def meet(self, g: Group, lacking: Array) -> bool:
        """Rows of g that lack lanes wait for them. Return whether rows are left to go on."""
        rest = g if lacking.all() else g.split(~lacking)
        keys = self._keys(rest)
        others = [u for u in self.meeting if u.pc == rest.pc and np.isin(self._keys(u), keys).any()]
        if rest is not g:
            self.batch.groups.append(rest)
        if not others:
            rest.state = BLOCKED
            self.meeting.append(rest)
            return rest is not g
        pieces = [rest, *others]
        self.meeting = [u for u in self.meeting if u not in others]
        depth = 0
        for levels in zip(*(u.joins for u in pieces), strict=False):
            if any(join is not levels[0] for join in levels):
                break
            depth += 1
        whole = self._merge(pieces, None)
        whole.joins = pieces[0].joins[:depth]
        for u in pieces:
            for join in reversed(u.joins[depth:]):
                self._leave(join, u)
        return rest is not g

    def lacking(self, g: Group, needed: Array, ended: bool) -> Array:
        """Return which rows lack lanes needed [warps or 1, 32], of those not ended if `ended`."""
        if ended:
            needed = needed & ~self.gone[self._keys(g)]
        return (needed & ~g.lanes).any(axis=1)

    def stashed(self, g: Group) -> bool:
        """Return whether copies or products in flight wait for g's warps to be whole again."""
        return any(join.whole.flying for join in g.joins)

    def _keys(self, g: Group) -> Array:
        return g.cta * self.batch.launch.kernel.num_warps + g.warp

    def _refuse(self, g: Group) -> None:
        code = self.batch.launch.kernel.program.instructions
        source = code[min(g.pc, len(code) - 1)].source
        text = "copies or products in flight, issued by part of a warp that is not whole again"
        raise UnsupportedError(f"{source}: {text}")

    def _merge(self, pieces: Sequence[Group], join: Join | None) -> Group:
        """Put parts together, at the place of the first; registers not written are the join's."""
        first, batch = pieces[0], self.batch
        for u in pieces:
            batch.groups.remove(u)
            if u.flying:
                self._refuse(u)
        if len(pieces) == 1:
            whole = first
        else:
            keys = [self._keys(u) for u in pieces]
            rows = np.unique(np.concatenate(keys))
            places = [np.searchsorted(rows, k) for k in keys]
            lanes = np.zeros((len(rows), LANES), np.bool_)
            for u, at in zip(pieces, places, strict=True):
                lanes[at] |= u.lanes
            regs = self._registers(pieces, places, rows, join)
            whole = Group(batch, regs, *(_latest(pieces, places, name) for name in AGENTS))
            whole.released = _latest(pieces, places, "released")
            whole.released_proxy = _latest(pieces, places, "released_proxy")
            for u, at in zip(pieces, places, strict=True):
                whole.bulks.add(u.bulks, at, u.lanes)
            whole.set_mask(lanes)
        whole.pc, whole.state, whole.polls = first.pc, READY, 0
        whole.turns, whole.steps = (max(getattr(u, n) for u in pieces) for n in ("turns", "steps"))
        batch.groups.append(whole)
        return whole

    def _registers(
        self, pieces: Sequence[Group], places: list[Array], rows: Array, join: Join | None
    ) -> list[Array]:
        lanes, n = [u.lanes for u in pieces], len(rows)
        if join is None:
            regs: list[Array] = list(pieces[0].regs)
            slots: set[int] = set(range(len(regs)))
        else:
            code, keys = self.batch.launch.kernel.program.instructions, self._keys(join.whole)
            of = np.searchsorted(keys, rows)
            regs = [r if r.shape[0] == 1 or len(of) == len(r) else r[of] for r in join.whole.regs]
            slots = {slot for pc in join.seen for slot in code[pc].destinations}
        for slot in slots:
            regs[slot] = _merged([u.regs[slot] for u in pieces], places, lanes, n)
        return regs


def _latest(pieces: Sequence[Group], places: list[Array], name: str) -> Array:
    """Return an attribute of each row, where parts of a warp differ the largest."""
    values = [getattr(u, name) for u in pieces]
    both = np.zeros((1 + max(at.max() for at in places), *values[0].shape[1:]), values[0].dtype)
    for at, value in zip(places, values, strict=True):
        both[at] = np.maximum(both[at], value)
    return both


def _merged(values: list[Array], places: list[Array], lanes: list[Array], n: int) -> Array:
    """Return a register of all parts, as narrow as their values allow."""
    first = values[0]
    if first.shape == (1, 1) and all(v is first or np.array_equal(v, first) for v in values):
        return first
    if all(v.shape[1] == 1 for v in values):
        narrow = np.zeros((n, 1), first.dtype)
        for at, value in zip(places, values, strict=True):
            narrow[at] = value
        if all((narrow[at] == v).all() for at, v in zip(places, values, strict=True)):
            return narrow
    out = np.zeros((n, LANES), first.dtype)
    for at, value, mask in zip(places, values, lanes, strict=True):
        out[at] = np.where(mask, full(value, len(at)), out[at])
    return out
