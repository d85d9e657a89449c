"""CTAs of a cluster run side by side: they wait for each other and reach each other's memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..batch import RETRY, Batch
from ..errors import UnsupportedError
from ..group import BLOCKED, READY, Group
from ..kernel import Kernel, Run, op
from ..memory import WINDOW
from ..parse import Instruction
from ..types import Array
from .build import elementwise


@dataclass
class ClusterBarrier:
    """A ClusterBarrier is the barriers of all clusters of a batch: arrays over clusters."""

    arrived: Array
    phase: Array
    target: Array  # by CTA and warp: the phase that it arrived in
    clock: Array
    proxy: Array
    past_clock: Array
    past_proxy: Array
    waiting: list[Group] = field(default_factory=list)


def _barrier_of(batch: Batch) -> ClusterBarrier:
    if "cluster barrier" not in batch.state:
        kernel = batch.launch.kernel
        n = len(batch.places) // kernel.cluster
        columns = batch.launch.columns
        clock, past = columns.zeros(n), columns.zeros(n)
        proxy, past_proxy = (np.zeros((n, columns.agents), np.int32) for _ in range(2))
        batch.state["cluster barrier"] = ClusterBarrier(
            np.zeros(n, np.int64), np.zeros(n, np.int64),
            np.zeros((len(batch.places), kernel.num_warps), np.int64),
            clock, proxy, past, past_proxy,
        )  # fmt: skip
    return batch.state["cluster barrier"]


def cluster_barrier(k: Kernel, ins: Instruction) -> Run:
    if "arrive" in ins.modifiers:
        return _arrive(k, "relaxed" in ins.modifiers)
    if "wait" in ins.modifiers:
        return _wait
    raise UnsupportedError(f"instruction {ins.text}")


def _arrive(k: Kernel, relaxed: bool) -> Run:
    """Build an arrival. A relaxed one releases what a fence before it did."""

    def arrive(g: Group) -> None:
        barrier = _barrier_of(g.batch)
        of = g.cta // k.cluster
        barrier.target[g.cta, g.warp] = barrier.phase[of]
        clock, proxy = (g.released, g.released_proxy) if relaxed else (g.clock, g.proxy)
        np.maximum.at(barrier.clock, of, clock)
        np.maximum.at(barrier.proxy, of, proxy)
        np.add.at(barrier.arrived, of, 1)
        done = np.flatnonzero(barrier.arrived == k.cluster * k.num_warps)
        if len(done):
            barrier.arrived[done] = 0
            barrier.phase[done] += 1
            barrier.past_clock[done] = barrier.clock[done]
            barrier.past_proxy[done] = barrier.proxy[done]
            for waiting in barrier.waiting:
                waiting.state = READY
            barrier.waiting = []
        g.tick()

    return arrive


def _wait(g: Group):
    barrier = _barrier_of(g.batch)
    of = g.cta // g.launch.kernel.cluster
    complete = barrier.phase[of] > barrier.target[g.cta, g.warp]
    if complete.all():
        if g.launch.track:
            g.join(barrier.past_clock[of], barrier.past_proxy[of])
        return None
    if complete.any():
        return complete
    barrier.waiting.append(g)
    g.state = BLOCKED
    return RETRY


@op("alu", "mapa")
def _map_address(k: Kernel, ins: Instruction) -> Run:
    """Build the address of the same place in another CTA's shared memory."""
    if "shared::cluster" not in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    t = ins.types[-1]

    def address(a: Array, rank: Array) -> Array:
        return (a & (WINDOW - 1)) | (rank.astype(a.dtype) * WINDOW)

    return elementwise(k, ins, address, [t, "u32"], t)


@op("alu", "getctarank")
def _rank_of(k: Kernel, ins: Instruction) -> Run:
    """Build the rank of the CTA whose shared memory an address is in."""
    return elementwise(k, ins, lambda a: (a // WINDOW).astype(np.uint32), [ins.types[-1]], "u32")
