"""Accesses out of bounds, misaligned, of unwritten memory: found, and placed."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import EmulationError, UnsupportedError

from .conftest import hand_written

HEAD = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.b32 %r3, buf;\n"
STORE = (
    HEAD
    + """mov.u32 %r4, %ntid.x; mad.lo.s32 %r4, %r4, %r2, %r1;
mad.wide.u32 %rd2, %r4, 4, %rd1; st.global.b32 [%rd2], %r1;"""
)


def test_stores_beyond_an_argument():
    """The first one outside is of CTA 1, warp 1, lane 8: element 64 * 1 + 40 of 104."""
    x = np.zeros(104, np.int32)
    kernel = hand_written(STORE, "u64", warps=2)
    where = r"byte 416 of argument p0 \(416 bytes\), p0\[104\] of 104 i32 \(width 4, 24 lanes\)"
    with pytest.raises(
        EmulationError, match=rf"\[bounds\].*{where}.*CTA \(1, 0, 0\), warp 1, lane 8"
    ):
        kernel.run((2,), [x], schedule="forward")
    x[:] = -1
    counters = kernel.run((2,), [x], strict=False)
    assert counters.report_counts == {"bounds": 1}
    (report,) = counters.reports
    assert (report.kind, report.cta, report.warp, report.lane) == ("bounds", (1, 0, 0), 1, 8)
    assert x.tolist() == [*range(64), *range(40)]  # the rest went on


def test_loads_before_an_argument_and_between_two():
    body = HEAD + "ld.global.b32 %r5, [%rd1+-4]; st.global.b32 [%rd1], %r5;"
    with pytest.raises(EmulationError, match=r"byte -4 of argument p0 .*, p0\[-1\] of 4 i32"):
        hand_written(body, "u64").run((1,), [np.zeros(4, np.int32)])
    one, two = np.zeros(4, np.int32), np.zeros(4, np.int32)
    body = HEAD + "ld.global.b32 %r5, [%rd1+16]; st.global.b32 [%rd1], %r5;"
    with pytest.raises(EmulationError, match=r"byte 16 of argument p0 \(16 bytes\)"):
        hand_written(body, "u64 u64").run((1,), [one, two])


def test_an_access_that_straddles_the_end():
    body = HEAD + "ld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%rd1+16];"
    with pytest.raises(EmulationError, match=r"\[bounds\].*byte 16 .*width 16, 32 lanes"):
        hand_written(body, "u64").run((1,), [np.zeros(6, np.int32)])


def test_a_null_pointer():
    body = HEAD + "ld.global.b32 %r5, [%rd1];"
    with pytest.raises(EmulationError, match=r"\[bounds\].*outside: null pointer \(width 4"):
        hand_written(body, "u64 u64").run((1,), [0, np.zeros(4)])
    with pytest.raises(EmulationError, match=r"outside: null pointer \+ 400 \(width 4"):
        hand_written(body.replace("[%rd1]", "[%rd1+400]"), "u64 u64").run((1,), [None, np.zeros(4)])


@pytest.mark.parametrize(
    ("offset", "text"),
    [(5 << 20, "far from any argument: 5242864 bytes past the end of argument p0"),
     (-5 << 20, "far from any argument: 5242880 bytes before the start of argument p0"),
     (-1 << 51, "address 0x8[0-9a-f]*, far from any argument")],
)  # fmt: skip
def test_a_far_pointer(offset, text):
    body = HEAD + f"add.s64 %rd2, %rd1, {offset}; ld.global.b32 %r5, [%rd2];"
    with pytest.raises(EmulationError, match=rf"outside: {text}"):
        hand_written(body, "u64").run((1,), [np.zeros(4, np.float32)])


def test_the_element_of_a_view():
    """Of several arguments in the same memory it is the first one that has the element."""
    x = np.zeros((4, 8), np.float16)
    body = HEAD + "ld.param.u64 %rd2, [p1]; cvt.u16.u32 %rs1, %r1; st.global.b16 [%rd2+20], %rs1;"
    with pytest.raises(EmulationError, match=r"byte 38 .*p0/p1 \(64 bytes\), p0\[19\] of 32 fp16"):
        hand_written(body, "u64 u64", warps=2).run((1,), [x, x[1:, 1:]])


def test_misalignment():
    body = HEAD + "mad.wide.u32 %rd2, %r1, 6, %rd1; ld.global.b32 %r5, [%rd2];"
    with pytest.raises(EmulationError, match=r"\[alignment\].*width 4: byte 6 of .* lane 1 "):
        hand_written(body, "u64").run((1,), [np.zeros(64, np.int64)])
    view = np.zeros(80, np.float16)[1:65]
    body = HEAD + "ld.global.v2.b32 {%r4, %r5}, [%rd1];"
    with pytest.raises(EmulationError, match=r"\[alignment\].*width 8"):
        hand_written(body, "u64").run((1,), [view])


def test_shared_memory_ends():
    body = HEAD + "mad.lo.s32 %r4, %r1, 4, %r3; st.shared.b32 [%r4+12], %r1;"
    match = r"\[bounds\].*byte 128 of shared memory \(128 bytes\) \(width 4, 3 lanes\).*lane 29"
    with pytest.raises(EmulationError, match=match):
        hand_written(body, "u64", shared=128).run((1,), [np.zeros(1)])
    with pytest.raises(EmulationError, match=r"byte 128 of shared memory.*CTA \(0, 0, 0\)"):
        hand_written(body, "u64", shared=128).run((4,), [np.zeros(1)])


def test_unwritten_shared_memory():
    body = (
        HEAD
        + """mad.lo.s32 %r4, %r1, 4, %r3; setp.ne.s32 %p1, %r1, 9;
    @%p1 st.shared.b32 [%r4], %r1; ld.shared.b32 %r5, [%r4];
    mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.b32 [%rd2], %r5;"""
    )
    kernel, y = hand_written(body, "u64", shared=128), np.zeros(32, np.uint32)
    match = r"\[uninitialised\].*nobody wrote: byte 36 of shared memory .*lane 9 "
    with pytest.raises(EmulationError, match=match):
        kernel.run((1,), [y])
    counters = kernel.run((1,), [y], strict=False)
    assert counters.report_counts["uninitialised"] == 1
    assert y.tolist() == [0xFFFFFFFF if i == 9 else i for i in range(32)]  # a NaN


def test_copies_of_shared_memory_do_not_mix():
    """Every CTA writes its own number and reads it back, many at once."""
    body = (
        HEAD
        + """mad.lo.s32 %r4, %r1, 4, %r3; st.shared.b32 [%r4], %r2; ld.shared.b32 %r5, [%r4];
    mad.lo.s32 %r6, %r2, 32, %r1; mad.wide.u32 %rd2, %r6, 4, %rd1; st.global.b32 [%rd2], %r5;"""
    )
    y = np.zeros((40, 32), np.int32)
    hand_written(body, "u64", shared=128).run((5, 8), [y[:40]], ctas=range(5))
    assert (y[:5] == np.arange(5)[:, None]).all()
    assert (y[5:] == 0).all()


@pytest.mark.parametrize(
    ("store", "load", "wanted"),
    [
        ("st.shared.b8 [%r4], %rs1", "ld.shared.s8 %r5, [%r4]", -3),
        ("st.shared.b8 [%r4], %rs1", "ld.shared.u8 %r5, [%r4]", 253),
        ("st.shared.b16 [%r4], %rs1", "ld.shared.s16 %r5, [%r4]", -3),
        ("st.shared.v2.b16 [%r4], {%rs1, %rs2}", "ld.shared.b32 %r5, [%r4]", 0x5FFFD),
    ],
)
def test_narrow_elements(store, load, wanted):
    body = (
        HEAD
        + f"""mov.b16 %rs1, -3; mov.b16 %rs2, 5; mad.lo.s32 %r4, %r1, 4, %r3; {store};
    {load}; mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.b32 [%rd2], %r5;"""
    )
    y = np.zeros(32, np.int32)
    hand_written(body, "u64", shared=128).run((1,), [y])
    assert (y == wanted).all()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("cp.async.bulk.shared::cluster.global [%r1], [%rd1], 16, [%r2];", r"cp\.async\.bulk"),
        ("ldmatrix.sync.aligned.m16n16.x1.shared.b8 {%r1}, [%r2];", r"ldmatrix\.sync.*m16n16"),
        ("fence.proxy.alias;", r"fence\.proxy\.alias"),
        ("barrier.cluster.red;", r"instruction barrier\.cluster"),
        ("call foo;", "instruction call foo"),
        ("mbarrier.arrive.noComplete.shared.b64 %rd1, [%r1], 1;", r"mbarrier\.arrive\.noComplete"),
        ("tcgen05.mma.cta_group::2.kind::f16 [%r1], %rd1, %rd2, %r2, %p1;", r"cta_group::2"),
        ("tcgen05.mma.sp.cta_group::1.kind::f8f6f4 [%r1], %rd1, %rd2, [%r3], %r2;", r"mma\.sp"),
        ("tcgen05.cp.cta_group::1.128x256b [%r1], %rd1;", r"tcgen05\.cp"),
        ("wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.f16.f16 {%r1}, %rd1, %rd2, %r2, 0, %p1;",
         "wgmma.mma_async.sp"),
        ("mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r1}, {%r2}, {%r3}, {%r4}, %r5, 0;",
         r"mma\.sp"),
        ("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r1}, {%r2}, {%r3}, {%r4};", "m8n8k4"),
        ("bra nowhere;", "label nowhere"),
    ],
)  # fmt: skip
def test_refusals_name_the_instruction(text, match):
    with pytest.raises(UnsupportedError, match=match):
        hand_written(text, "u64")


INDIRECT = (
    HEAD
    + """mad.wide.u32 %rd2, %r2, 8, %rd1; ld.global.b64 %rd3, [%rd2];
mad.wide.u32 %rd4, %r1, 4, %rd3; ld.global.b32 %r5, [%rd4]; add.s32 %r5, %r5, 1;
st.global.b32 [%rd4], %r5;"""
)  # x[thread] += 1, where pointers[CTA] points to x


def test_pointers_that_lie_in_memory():
    """Each CTA follows its own pointer: to a whole array, and into another from its fifth on."""
    x, y = np.arange(32, dtype=np.int32), np.arange(40, dtype=np.int32)
    pointers = np.array([x.ctypes.data, y.ctypes.data + 20])
    kernel = hand_written(INDIRECT, "u64")
    kernel.run((2,), [pointers], memory=[x, y])
    assert x.tolist() == [*range(1, 33)]
    assert y.tolist() == [*range(5), *range(6, 38), *range(37, 40)]


def test_pointers_in_memory_to_arguments_and_to_nothing():
    x = np.arange(32, dtype=np.int32)
    pointers = np.array([x.ctypes.data])
    hand_written(INDIRECT, "u64 u64").run((1,), [pointers, x])
    assert x.tolist() == [*range(1, 33)]
    with pytest.raises(EmulationError, match=r"\[bounds\]"):
        hand_written(INDIRECT, "u64").run((1,), [pointers])
    pointers += 4
    with pytest.raises(EmulationError, match=r"byte 128 of memory 0 \(128 bytes\).* 1 lanes"):
        hand_written(INDIRECT, "u64").run((1,), [pointers], memory=[x])
