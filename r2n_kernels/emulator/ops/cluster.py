"""CTAs of a cluster run side by side: they wait for each other and reach each other's memory."""

from __future__ import annotations

import numpy as np

from ..batch import Batch
from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..memory import WINDOW
from ..parse import Instruction
from ..types import Array
from .build import elementwise
from .mbarrier import Phases


class ClusterBarrier(Phases):
    """A ClusterBarrier is the barriers of all clusters of a batch: arrays over clusters."""

    def __init__(self, batch: Batch) -> None:
        kernel, ctas = batch.launch.kernel, len(batch.places)
        super().__init__(ctas // kernel.cluster, batch.launch.columns)
        self.arrived = np.zeros_like(self.phase)
        # by CTA and warp: the phase that it arrived in
        self.target = np.zeros((ctas, kernel.num_warps), np.int64)


def _barrier_of(batch: Batch) -> ClusterBarrier:
    if "cluster barrier" not in batch.state:
        batch.state["cluster barrier"] = ClusterBarrier(batch)
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
            barrier.complete(done)
        g.tick()

    return arrive


def _wait(g: Group):
    barrier = _barrier_of(g.batch)
    of = g.cta // g.launch.kernel.cluster
    return barrier.wait(g, barrier.phase[of] > barrier.target[g.cta, g.warp], of)


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
