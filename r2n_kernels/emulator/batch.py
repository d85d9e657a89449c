"""This file runs some CTAs side by side: their shared memory, barriers and which warps run next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .clocks import Agents
from .errors import EmulationError
from .group import BLOCKED, DONE, READY, Group
from .local import LocalMemory
from .memory import SHARED_BASE, WINDOW, Memory, Region
from .parts import Parts
from .types import LANES, Array
from .waiting import explain

if TYPE_CHECKING:
    from .launch import Launch

# What an instruction answers: None to go on, a place to jump to, rows to split off, or one of these
STOP = -1  # blocked, done, or preempted: the next instruction is next
RETRY = -2  # blocked: this instruction is next
YIELD = -3  # polled: what is next is set, and others have a turn

PATIENCE = 16  # turns of each group without any change, until other CTAs are to go on

SMS = 132  # of the machine that kernels see
WORD = 0xFFFFFFFF

LOCKSTEP, FORWARD, REVERSE, RANDOM = SCHEDULES = ("lockstep", "forward", "reverse", "random")


class Batch:
    """A Batch is the CTAs at `places` of the grid, each with its own shared memory and barriers.

    schedule: "lockstep" runs all warps at once, the fastest; "forward" and "reverse" run the first
    or the last warp of every CTA until it blocks; "random" deals warps into groups at random, and
    stops them at memory instructions at random. Asynchronous operations take effect as late as the
    code allows, or, under "random", at random.
    """

    def __init__(self, launch: Launch, places: Sequence[int]) -> None:
        kernel = launch.kernel
        self.launch: Launch = launch
        self.places: Array = np.asarray(places)
        size = kernel.shared_bytes
        self.shared = Memory(
            launch, "shared", SHARED_BASE, size, min(kernel.widths["shared"] | {16}),
            [Region(0, size, "shared memory")], copies=len(places),
        )  # fmt: skip
        self.shared.data[:] = 0xFF  # a NaN in every float format
        self.barriers: dict[int, list[Group]] = {}
        self.pending: list[Callable[[], None]] = []  # asynchronous events to come
        self.state: dict[str, Any] = {}  # of instructions that need some: mbarriers, tensor memory
        self.local = LocalMemory(self, kernel.program.local_bytes)
        self.parts = Parts(self)
        self.block = self.places // kernel.cluster + 1  # by CTA
        self.groups = self._deal()

    def agents(self, number: int) -> Agents:
        """Return agents that are no warps, as tensor cores: one row per CTA."""
        ctas = len(self.places)
        columns = self.launch.columns
        clock, proxy = columns.zeros(ctas), np.zeros((ctas, columns.agents), np.int32)
        warp, cta = np.full(ctas, number), np.arange(ctas)
        made = Agents(warp, cta, self.block, clock, proxy, self._agent(warp, cta), columns)
        made.tick()
        return made

    def owner(self, cta: int, address: int) -> tuple[int, int]:
        """Return the CTA whose shared memory an address is in, and the address there."""
        size = self.launch.kernel.cluster
        window, local = divmod(address, WINDOW)
        return cta // size * size + window, local

    def multicast(self, mask: int, *addresses: int) -> list[tuple[int, ...]]:
        """Return the addresses of the same places in each CTA of the cluster that a mask names."""
        ranks = [rank for rank in range(self.launch.kernel.cluster) if mask >> rank & 1]
        return [tuple(a % WINDOW + rank * WINDOW for a in addresses) for rank in ranks]

    def _agent(self, warp: Array, cta: Array) -> Array:
        """Return the numbers of agents in their clusters."""
        kernel = self.launch.kernel
        return warp + cta % kernel.cluster * kernel.agents

    def _deal(self) -> list[Group]:
        """Return the groups that the schedule runs, warps ordered by CTA."""
        launch, ctas, warps = self.launch, len(self.places), self.launch.kernel.num_warps
        if launch.schedule == LOCKSTEP:
            hands = np.zeros((ctas, warps), np.int64)
        elif launch.schedule == RANDOM:
            hands = launch.rng.permuted(np.tile(np.arange(warps), (ctas, 1)), axis=1)
            hands %= launch.rng.integers(1, warps + 1)
        else:
            hands = np.tile(np.arange(warps), (ctas, 1))
        groups = []
        for hand in np.unique(hands):
            cta, warp = np.nonzero(hands == hand)
            agent = self._agent(warp, cta)
            clock = launch.columns.zeros(len(warp))
            clock[np.arange(len(warp)), agent] = 1
            block = self.block[cta]
            proxy = np.zeros((len(warp), launch.columns.agents), np.int32)
            group = Group(self, list(launch.registers), warp, cta, block, clock, proxy, agent)
            self._set_special(group)
            groups.append(group)
        return groups

    def _set_special(self, g: Group) -> None:
        """Set tid, ctaid and their like."""
        nx, ny, nz = self.launch.grid
        place = self.places[g.cta][:, None]
        warp, lane = g.warp[:, None], np.arange(LANES)[None, :]
        ctaid = {"x": place % nx, "y": place // nx % ny, "z": place // (nx * ny)}
        one, zero, count = np.ones((1, 1)), np.zeros((1, 1)), self.launch.kernel.num_warps
        size = self.launch.kernel.cluster
        values: dict[str, dict[str, Array]] = {
            "%tid": {"x": warp * LANES + lane}, "%ntid": {"x": one * count * LANES},
            "%ctaid": ctaid, "%nctaid": {"x": one * nx, "y": one * ny, "z": one * nz},
            "%laneid": {"": lane}, "%warpid": {"": warp}, "%nwarpid": {"": one * count},
            "%clusterid": {**ctaid, "x": ctaid["x"] // size},
            "%nclusterid": {"x": one * nx // size, "y": one * ny, "z": one * nz},
            "%cluster_ctaid": {"x": ctaid["x"] % size}, "%cluster_ctarank": {"": ctaid["x"] % size},
            "%cluster_nctaid": {"x": one * size}, "%cluster_nctarank": {"": one * size},
            "%is_explicit_cluster": {"": one * (size > 1)},
            "%smid": {"": place % SMS}, "%nsmid": {"": one * SMS},
            "%dynamic_smem_size": {"": one * self.launch.kernel.dynamic_bytes},
            "%total_smem_size": {"": one * self.launch.kernel.shared_bytes},
            "%lanemask_eq": {"": 1 << lane}, "%lanemask_lt": {"": (1 << lane) - 1},
            "%lanemask_le": {"": (2 << lane) - 1}, "%lanemask_gt": {"": -2 << lane & WORD},
            "%lanemask_ge": {"": -1 << lane & WORD},
        }  # fmt: skip
        for name, slot in self.launch.kernel.special.items():
            base, _, axis = name.partition(".")
            other = one if base in ("%ntid", "%cluster_nctaid") else zero
            value = values.get(base, {}).get(axis, other)
            g.regs[slot] = value.astype(g.regs[slot].dtype)
        for slot, address in self.launch.kernel.own.items():
            g.regs[slot] = (ctaid["x"] % size * WINDOW + address).astype(g.regs[slot].dtype)

    def run(self) -> bool:
        """Run every warp to its end, or until all only wait for other CTAs; return which it was.

        Raises EmulationError where none can go on.
        """
        launch = self.launch
        execute, schedule, rng = launch.execute, launch.schedule, launch.rng
        changes, floor = launch.changes, self._turns()
        while self.groups:
            ready = [g for g in self.groups if g.state == READY]
            if self.pending and (not ready or (schedule == RANDOM and rng.random() < 0.3)):
                self.pending.pop(0)()
                continue
            if not ready:
                if not self.parts.release_any():
                    raise EmulationError(f"deadlock: {explain([self])}")
                continue
            if schedule == RANDOM:
                g = ready[rng.integers(len(ready))]
            else:
                sign = -1 if schedule == REVERSE else 1
                g = min(ready, key=lambda g: (g.turns, sign * g.warp[0]))
            turns = g.turns
            execute(g)
            if g.state == DONE:
                self.groups.remove(g)
                if g.joins or g.mask is not None:
                    self.parts.ended(g)
            elif g.turns > turns:
                if launch.changes != changes:
                    changes, floor = launch.changes, self._turns()
                elif self._turns() > floor + PATIENCE:
                    return False
        return True

    def _turns(self) -> int:
        """Return how often each group that can go on has given its turn to others."""
        return min((g.turns for g in self.groups if g.state == READY), default=0)

    def split(self, g: Group, keep: Array) -> None:
        """g keeps the rows where `keep` holds; the others become a group of their own."""
        self.groups.append(g.split(keep))

    def arrive(self, g: Group, barrier: int, threads: int) -> int | None:
        """A group arrives at a barrier of `threads` threads of a CTA; the last one frees all."""
        waiting = self.barriers.setdefault(barrier, [])
        waiting.append(g)
        warps = np.concatenate([u.cta for u in waiting])
        counts = np.bincount(warps, minlength=len(self.places)) * LANES
        complete = np.zeros(len(counts), np.bool_)
        complete[g.cta] = counts[g.cta] >= threads  # another CTA may wait for other threads
        free = []
        for u in list(waiting):
            gone = complete[u.cta]
            if gone.any():
                if not gone.all():
                    rest = u.split(gone)
                    rest.state = BLOCKED
                    if u is g:  # what the loop that runs g does for g itself
                        self.launch.steps[g.pc] += len(rest)
                        rest.pc += 1
                    self.groups.append(rest)
                    waiting.append(rest)
                free.append(u)
                waiting.remove(u)
        if free and self.launch.track:
            clock = np.zeros((len(counts), g.clock.shape[1]), np.int32)
            proxy = np.zeros((len(counts), g.proxy.shape[1]), np.int32)
            for u in free:
                np.maximum.at(clock, u.cta, u.clock)
                np.maximum.at(proxy, u.cta, u.proxy)
            for u in free:
                u.join(clock[u.cta], proxy[u.cta])
        for u in free:
            u.state = READY
        if free == [g]:
            return None
        if g not in free:
            g.state = BLOCKED
        return STOP
