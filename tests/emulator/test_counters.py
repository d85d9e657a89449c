"""Counters against numbers worked out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from r2n_kernels.emulator import Counters, GlobalTraffic, Report, SharedTraffic, merge
from r2n_kernels.emulator.counters import KEPT

from .conftest import hand_written

ELEMENTS = {4: "b32", 8: "v2.b32", 16: "v4.b32", 2: "b16"}
VALUES = {4: "%r5", 8: "{%r5, %r5}", 16: "{%r5, %r5, %r5, %r5}", 2: "%rs5"}


def strided(shared: int, global_: int, width: int, lanes: int = 32, grid: int = 1) -> Counters:
    """Each of some lanes stores `width` bytes, `shared` and `global_` bytes apart."""
    t, value = ELEMENTS[width], VALUES[width]
    kernel = hand_written(
        f"""mov.u32 %r1, %tid.x; mov.b32 %r5, 0; mov.b16 %rs5, 0; mov.b32 %r2, buf;
        setp.lt.u32 %p1, %r1, {lanes}; mad.lo.s32 %r2, %r1, {shared}, %r2;
        @%p1 st.shared.{t} [%r2], {value}; ld.param.u64 %rd1, [p0];
        mad.wide.u32 %rd1, %r1, {global_}, %rd1; @%p1 st.global.{t} [%rd1], {value};""",
        "u64", shared=16384,
    )  # fmt: skip
    return kernel.run((grid,), [np.zeros(8192, np.uint8)])


@pytest.mark.parametrize(
    ("shared", "global_", "width", "wavefronts", "conflicts", "sectors", "efficiency"),
    [
        (4, 4, 4, 1, 0, 4, 1), (8, 8, 4, 2, 1, 8, 0.5), (128, 32, 4, 32, 31, 32, 0.125),
        (0, 0, 4, 1, 0, 1, 0.125), (132, 64, 4, 1, 0, 32, 0.125), (8, 8, 8, 2, 0, 8, 1),
        (16, 16, 16, 4, 0, 16, 1), (32, 32, 16, 8, 4, 32, 0.5), (64, 16, 16, 16, 12, 16, 1),
        (128, 128, 16, 32, 28, 32, 0.5), (144, 208, 16, 4, 0, 32, 0.5), (2, 2, 2, 1, 0, 2, 1),
        (64, 2, 2, 16, 15, 2, 1), (256, 4, 4, 32, 31, 4, 1), (12, 4, 4, 1, 0, 4, 1),
    ],
)  # fmt: skip
def test_one_warp(shared, global_, width, wavefronts, conflicts, sectors, efficiency):
    counters = strided(shared, global_, width)
    assert counters.shared == {"st": SharedTraffic(1, 32 * width, wavefronts, conflicts)}
    traffic = counters.global_["st"]
    assert (traffic.requests, traffic.bytes, traffic.sectors) == (1, 32 * width, sectors)
    assert traffic.efficiency == efficiency
    assert counters.global_bytes == 32 * sectors


@pytest.mark.parametrize(
    ("lanes", "width", "stride", "wavefronts", "sectors", "useful"),
    [(7, 4, 4, 1, 1, 28), (9, 4, 4, 1, 2, 36), (1, 16, 16, 1, 1, 16), (12, 16, 16, 2, 6, 192),
     (5, 4, 128, 5, 5, 20), (3, 4, 0, 1, 1, 4)],
)  # fmt: skip
def test_partial_lanes(lanes, width, stride, wavefronts, sectors, useful):
    counters = strided(stride, stride, width, lanes)
    shared, traffic = counters.shared["st"], counters.global_["st"]
    assert (shared.requests, shared.bytes, shared.wavefronts) == (1, lanes * width, wavefronts)
    assert traffic == GlobalTraffic(1, lanes * width, useful, sectors)
    assert counters.unique == {0: (0, useful)}


def test_no_lanes_make_no_request():
    counters = strided(4, 4, 4, lanes=0)
    assert not counters.shared
    assert not counters.global_
    assert counters.instructions["st.shared.b32"] == 1  # it is issued all the same


@pytest.mark.parametrize("side_by_side", [1, 2, 3])
def test_several_ctas_add_up(side_by_side):
    """Each of 3 CTAs of 2 warps reads 256 bytes of its own and 128 shared ones; rows conflict."""
    kernel = hand_written(
        """mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.b32 %r3, buf; ld.param.u64 %rd1, [p0];
        mad.lo.s32 %r4, %r2, 64, %r1; mad.wide.u32 %rd2, %r4, 4, %rd1; ld.global.b32 %r5, [%rd2];
        and.b32 %r6, %r1, 31; mad.wide.u32 %rd3, %r6, 4, %rd1; ld.global.b32 %r7, [%rd3+1024];
        mad.lo.s32 %r8, %r1, 8, %r3; st.shared.b32 [%r8], %r5; fma.rn.f32 %r9, %r5, %r5, %r5;
        ld.param.u64 %rd4, [p1]; mad.wide.u32 %rd4, %r4, 4, %rd4; st.global.b32 [%rd4], %r7;""",
        "u64 u64", shared=512, warps=2,
    )  # fmt: skip
    x, y = np.zeros(512, np.int32), np.zeros(192, np.int32)
    counters = kernel.run((3,), [x, y], side_by_side=side_by_side)
    assert counters.global_["ld"] == GlobalTraffic(12, 12 * 128, 12 * 128, 12 * 4)
    assert counters.global_["st"] == GlobalTraffic(6, 6 * 128, 6 * 128, 6 * 4)
    assert counters.shared["st"] == SharedTraffic(6, 6 * 128, 12, 6)
    assert counters.unique == {0: (3 * 256 + 128, 0), 1: (0, 3 * 256)}
    assert counters.fmas == 6 * 32
    assert counters.instructions["ld.global.b32"] == 12
    assert counters.by_base()["mad"] == 6 * 5
    assert sum(counters.instructions.values()) == 6 * len(kernel.program.instructions)


def test_packed_multiply_adds_count_twice():
    counters = hand_written("fma.rn.f32x2 %rd1, %rd2, %rd3, %rd4; fma.rn.f32 %r1, %r2, %r3, %r4;"
                            "mul.f32 %r1, %r2, %r3;").run((1,), [])  # fmt: skip
    assert counters.fmas == 3 * 32


def test_merge():
    report = Report("race", "text", (0, 0, 0), 0, 0, "st", "?")
    one, two = strided(4, 4, 4, lanes=7), strided(8, 8, 8)
    for counters, n in ((one, 2), (two, KEPT)):
        counters.macs = 100
        for _ in range(n):
            counters.add(report)
    total = merge([one, two])
    assert total.global_["st"] == GlobalTraffic(2, 28 + 256, 28 + 256, 1 + 8)
    assert total.shared["st"] == SharedTraffic(2, 28 + 256, 3, 0)
    assert total.macs == 200
    assert total.instructions == one.instructions + two.instructions
    assert total.report_counts == Counter(race=KEPT + 2)
    assert len(total.reports) == KEPT
    assert total.unique == {0: (0, 28 + 256)}
    assert one.global_["st"].requests == 1  # parts are left alone


def test_a_report_reads_well():
    report = Report("race", "read of it", (1, 2, 0), 3, 4, "ld.shared.b32", "device.py:85")
    wanted = "[race] device.py:85: read of it | CTA (1, 2, 0), warp 3, lane 4 | ld.shared.b32"
    assert str(report) == wanted
    core = Report("proxy", "read of it", (0, 0, 0), None, 0, "tcgen05.mma", "?")
    assert str(core) == "[proxy] ?: read of it | CTA (0, 0, 0), tensor core | tcgen05.mma"


def test_an_empty_request_is_efficient():
    assert GlobalTraffic().efficiency == 1.0


def test_lines_add_up_to_the_whole(gemm):
    case = gemm(m=128)
    counters = merge(case.run(case.kernel(arch))[2] for arch in (80, 90, 100))
    assert any("worker.py" in source for source in counters.lines)
    total = Counters()
    for work in counters.lines.values():
        total.include(work)
    assert total.instructions == counters.instructions
    assert total.global_ == counters.global_
    assert total.shared == counters.shared
    assert total.macs == counters.macs == 3 * case.macs
    with_macs = [source for source, work in counters.lines.items() if work.macs]
    assert len(with_macs) == 1  # the line of tl.dot
