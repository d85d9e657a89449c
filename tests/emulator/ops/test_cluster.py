"""Clusters in PTX: addresses of other CTAs, barriers of all, and who has to wait for whom."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import SCHEDULES, EmulationError, Kernel

from ..conftest import hand_written

HEAD = """mov.u32 %r1, %tid.x; mov.u32 %r2, %cluster_ctarank; mov.u32 %r3, %clusterid.x;
mov.b32 %r4, buf; ld.param.u64 %rd1, [p0]; xor.b32 %r5, %r2, 1; add.s32 %r20, %r4, 512;
shl.b32 %r6, %r1, 2; add.s32 %r7, %r4, %r6; mapa.shared::cluster.u32 %r8, %r7, %r5;
mov.u32 %r9, %ctaid.x; shl.b32 %r10, %r9, 5; add.s32 %r10, %r10, %r1;
mul.wide.u32 %rd2, %r10, 4; add.s64 %rd3, %rd1, %rd2; mapa.shared::cluster.u32 %r21, %r20, %r5;"""
SYNC = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
WRITE = "st.shared.b32 [%r7], %r10;"
READ = "ld.shared::cluster.b32 %r11, [%r8]; st.global.b32 [%rd3], %r11;"


def clustered(*parts: str, ctas: int = 2, warps: int = 1) -> Kernel:
    kernel = hand_written(" ".join((HEAD, *parts)), "u64", shared=1024, warps=warps)
    text = kernel.ptx.replace(")\n{", f")\n.explicitcluster\n.reqnctapercluster {ctas}\n{{")
    return Kernel(text, 1024, warps)


def swapped() -> np.ndarray:
    """What each CTA of a pair finds in the other one, of two programs."""
    return np.arange(128).reshape(4, 32)[[1, 0, 3, 2]].reshape(-1)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_cta_reads_another_ones_memory(schedule):
    y = np.zeros(128, np.int32)
    clustered(WRITE, SYNC, READ, SYNC).run((2,), [y], schedule=schedule)
    assert (y == swapped()).all()


@pytest.mark.parametrize(
    "parts",
    [
        (WRITE, READ),
        (WRITE, SYNC.replace("arrive", "arrive.relaxed"), READ),
        (WRITE, "fence.acq_rel.cluster;", READ),
    ],
)
def test_a_barrier_that_is_missing_or_relaxed(parts):
    for schedule in ("lockstep", "random"):
        with pytest.raises(EmulationError, match=r"\[(race|uninitialised)\]"):
            clustered(*parts).run((2,), [np.zeros(128, np.int32)], schedule=schedule)


def test_a_fence_makes_a_relaxed_arrival_enough():
    y, relaxed = np.zeros(128, np.int32), SYNC.replace("arrive", "arrive.relaxed")
    clustered(WRITE, "fence.acq_rel.cluster;", relaxed, READ, SYNC).run((2,), [y])
    assert (y == swapped()).all()


def test_parts_of_a_grid_are_whole_clusters():
    y = np.full(128, -1, np.int32)
    clustered(WRITE, SYNC, READ, SYNC).run((2,), [y], ctas=[1])
    assert (y[:64] == -1).all()
    assert (y[64:] == swapped()[64:]).all()


def test_who_is_who():
    text = """mov.u32 %r12, %cluster_nctarank; mad.lo.u32 %r12, %r3, %r12, %r2;
    mov.u32 %r13, %nclusterid.x; mad.lo.u32 %r12, %r13, 100, %r12;
    getctarank.shared::cluster.u32 %r14, %r8;
    mad.lo.u32 %r12, %r14, 1000, %r12; st.global.b32 [%rd3], %r12;"""
    y = np.zeros(8 * 32, np.int32)
    clustered(text, ctas=4).run((2,), [y])
    others = np.array([1, 0, 3, 2] * 2)
    assert y.reshape(8, 32)[:, 0].tolist() == (np.arange(8) + 200 + 1000 * others).tolist()


def test_an_address_of_no_cta_is_out_of_bounds():
    text = "mapa.shared::cluster.u32 %r8, %r7, 2; st.shared::cluster.b32 [%r8], %r1;"
    with pytest.raises(EmulationError, match=r"\[bounds\]"):
        clustered(text).run((1,), [np.zeros(64, np.int32)])


BARRIER = """setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared::cta.b64 [%r20], 1;
fence.mbarrier_init.release.cluster; barrier.cluster.arrive.relaxed; barrier.cluster.wait;"""
EXPECT = "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 128;"
WAIT = """{ .reg .pred done; again:
mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%r20], 0; @!done bra.uni again; }"""
SEND = """st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r8], %r10, [%r21];"""
COPY = """fence.proxy.async; bar.sync 0; mapa.shared::cluster.u32 %r22, %r4, %r5;
add.s32 %r22, %r22, 128;
@%p1 cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes
[%r22], [%r4], 128, [%r21];"""
SHOW = "ld.shared.b32 %r11, [%r7]; st.global.b32 [%rd3], %r11;"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_stores_that_count_bytes_on_the_other_ctas_barrier(schedule):
    y = np.zeros(128, np.int32)
    clustered(BARRIER, EXPECT, SEND, WAIT, SHOW, SYNC).run((2,), [y], schedule=schedule)
    assert (y == swapped()).all()
    with pytest.raises(EmulationError, match=r"\[(race|uninitialised)\]"):
        clustered(BARRIER, EXPECT, SEND, SHOW, SYNC).run((2,), [y], schedule=schedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_bulk_copies_into_another_cta(schedule):
    y, show = np.zeros(128, np.int32), SHOW.replace("[%r7]", "[%r7+128]")
    kernel = clustered(WRITE, BARRIER, EXPECT, COPY, WAIT, show, SYNC)
    kernel.run((2,), [y], schedule=schedule)
    assert (y == swapped()).all()


def test_arrivals_at_the_other_ctas_barrier():
    arrive = "@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r21];"
    y = np.zeros(128, np.int32)
    clustered(WRITE, BARRIER, arrive, WAIT, READ, SYNC).run((2,), [y])
    assert (y == swapped()).all()


def test_branches_by_index():
    text = """and.b32 %r12, %r1, 96; shr.u32 %r12, %r12, 5;
    table: .branchtargets first, second; brx.idx %r12, table;
    first: mov.u32 %r13, 5; bra join; second: mov.u32 %r13, 7; bra join;
    join: st.global.b32 [%rd3], %r13;"""
    y = np.zeros(64, np.int32)
    kernel = clustered(text, ctas=1, warps=2)
    kernel.run((1,), [y])
    assert y.tolist() == [5] * 32 + [7] * 32
