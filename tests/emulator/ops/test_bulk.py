"""Bulk copies in PTX: what they move, what they demand, and who may look at what they wrote."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import SCHEDULES, EmulationError, UnsupportedError
from r2n_kernels.emulator.tensormaps import TensorMap

from ..conftest import hand_written

START = """mov.u32 %r1, %tid.x; mov.b32 %r2, buf; add.s32 %r3, %r2, 1024;
setp.eq.u32 %p1, %r1, 0; ld.param.u64 %rd1, [p0]; ld.param.u64 %rd2, [p1];
@%p1 mbarrier.init.shared::cta.b64 [%r3], 1; bar.sync 0;"""
LOAD = """@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], 256;
@%p1 cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r2], [%rd1], 256, [%r3];"""
WAIT = """{ .reg .pred done; again:
mbarrier.try_wait.parity.shared::cta.b64 done, [%r3], 0; @!done bra.uni again; }"""
TAKE = """shl.b32 %r4, %r1, 2; add.s32 %r5, %r2, %r4; ld.shared.b32 %r6, [%r5];
cvt.u64.u32 %rd3, %r4; add.s64 %rd4, %rd2, %rd3; st.global.b32 [%rd4], %r6;"""
PUT = """add.s32 %r6, %r6, 1; st.shared.b32 [%r5], %r6;"""
FENCE = "fence.proxy.async.shared::cta; bar.sync 0;"
STORE = "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 256;"
DONE = "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;"


def copied(*parts: str, **options):
    kernel = hand_written(" ".join((START, *parts)), "u64 u64", shared=2048, warps=2)
    x, y = np.arange(64, dtype=np.int32), np.zeros(64, np.int32)
    kernel.run((1,), [x, y], **options)
    return x, y


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_bytes_there_and_back(schedule):
    x, y = copied(LOAD, WAIT, TAKE, schedule=schedule)
    assert (x == y).all()
    x, y = copied(LOAD, WAIT, TAKE, PUT, FENCE, STORE, DONE, schedule=schedule)
    assert (x + 1 == y).all()


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ((LOAD, TAKE), r"\[race\].*of a write not ordered.*TMA|\[uninitialised\]"),
        ((LOAD, WAIT, TAKE, PUT, "bar.sync 0;", STORE, DONE), r"\[proxy\].*fence\.proxy\.async"),
        ((LOAD, WAIT, STORE), r"\[race\].*ends while its bulk copies read shared memory"),
        (
            (LOAD, WAIT, TAKE, PUT, FENCE, STORE, PUT),
            r"\[race\].*(write over a read|read of a write) not ordered",
        ),
    ],
)
def test_a_missing_wait_or_fence(parts, match):
    for schedule in ("lockstep", "random"):
        with pytest.raises(EmulationError, match=match):
            copied(*parts, schedule=schedule)


def test_waiting_for_reads_is_enough_to_write_the_source_again():
    read = DONE.replace("wait_group", "wait_group.read")
    x, y = copied(LOAD, WAIT, TAKE, PUT, FENCE, STORE, read, "bar.sync 0;", PUT)
    assert (x + 1 == y).all()


def test_groups_are_counted_by_thread():
    """Warp 1 commits nothing of its own, and waits for nothing of warp 0's."""
    late = DONE.replace("cp.async.bulk.commit_group;", "@%p1 cp.async.bulk.commit_group;")
    x, y = copied(LOAD, WAIT, TAKE, PUT, FENCE, STORE, late)
    assert (x + 1 == y).all()
    none = late.replace("wait_group 0", "wait_group 1")
    with pytest.raises(EmulationError, match="ends while its bulk copies"):
        copied(LOAD, WAIT, TAKE, PUT, FENCE, STORE, none)


def test_reductions():
    text = STORE.replace("cp.async", "cp.reduce.async").replace("bulk_group", "bulk_group.add.u32")
    kernel = hand_written(" ".join((START, LOAD, WAIT, text, DONE)), "u64 u64", shared=2048)
    x, y = np.arange(64, dtype=np.int32), np.full(64, 7, np.int32)
    counters = kernel.run((3,), [x, y])
    assert (y == 7 + 3 * x).all()
    assert counters.global_["cp.reduce.async.bulk"].bytes == 3 * 256


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("[%rd1], 256", "[%rd1+128], 256", r"\[bounds\].*128 of argument p0|\[bounds\]"),
        ("[%r2], [%rd1]", "[%r2+8], [%rd1]", r"\[alignment\].*multiple of 16"),
        ("[%rd1], 256", "[%rd1+8], 128", r"\[alignment\].*128 bytes at .*multiples of 16"),
        ("[%rd1], 256", "[%rd1], 250", r"\[alignment\].*250 bytes at .*multiples of 16"),
        ("[%r2], [%rd1]", "[%r2+3000], [%rd1]", r"\[(alignment|bounds)\]"),
        ("_, [%r3], 256", "_, [%r3], 512", "deadlock|wait"),
    ],
)
def test_copies_that_are_wrong(old, new, match):
    with pytest.raises(EmulationError, match=match):
        copied(LOAD.replace(old, new), WAIT, TAKE)


TILE = (
    """mov.u32 %r1, %tid.x; mov.b32 %r2, buf; add.s32 %r3, %r2, 2048;
setp.eq.u32 %p1, %r1, 0; mov.b64 %rd5, p0; cvta.param.u64 %rd1, %rd5; ld.param.u64 %rd2, [p1];
@%p1 mbarrier.init.shared::cta.b64 [%r3], 1; bar.sync 0; mov.b32 %r7, 8; mov.b32 %r8, -1;
@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], 512;
@%p1 cp.async.bulk.tensor.2d.shared::cta.global.tile.mbarrier::complete_tx::bytes
[%r2], [%rd1, {%r7, %r8}], [%r3];"""
    + WAIT
)


@pytest.mark.parametrize(("swizzle", "nan"), [(0, False), (1, False), (2, True), (3, True)])
def test_tiles_are_swizzled_and_filled(swizzle, nan):
    """The shared memory that a tile lies in, copied as it is."""
    width = 16 << swizzle  # bytes of a row
    rows = 512 // width
    body = TILE + "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 512;" + DONE
    kernel = hand_written(body, "map u64", shared=4096)
    x = np.arange(40 * 64, dtype=np.float32).reshape(40, 64)[:, :24].copy()
    given = TensorMap(x, 7, (24, 40), (96,), (width // 4, rows), swizzle, nan)
    y = np.zeros(128, np.float32)
    kernel.run((1,), [given, y])
    wanted = np.full((rows, width // 4), np.nan if nan else 0, np.float32)
    inside = x[: rows - 1, 8 : 8 + width // 4]
    wanted[1:, : inside.shape[1]] = inside
    at = np.arange(512)
    place = at ^ (((at >> 7) & (width // 16 - 1)) << 4)
    raw = np.empty(512, np.uint8)
    raw[place] = wanted.view(np.uint8).reshape(-1)
    np.testing.assert_array_equal(y, raw.view(np.float32))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("cp.async.bulk.tensor.3d.shared::cta.global.im2col.mbarrier::complete_tx::bytes "
         "[%r1], [%rd1, {%r1, %r2, %r3}], [%r4], {%rs1};", "im2col"),
        ("cp.async.bulk.shared::cta.global [%r1], [%rd1], 16, [%r2];", r"cp\.async\.bulk"),
        ("cp.async.bulk.global.shared::cta.bulk_group.cp_mask [%rd1], [%r1], 16, %rs1;", "cp_mask"),
    ],
)  # fmt: skip
def test_refusals(text, match):
    with pytest.raises(UnsupportedError, match=match):
        hand_written(text)


def test_a_tensor_map_is_wanted():
    kernel = hand_written(TILE, "map u64", shared=4096)
    with pytest.raises(EmulationError, match="p0 takes a TensorMap"):
        kernel.run((1,), [np.zeros(4), np.zeros(4)])
