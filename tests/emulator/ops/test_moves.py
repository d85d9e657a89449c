"""Moves, special registers, the time and hints: against the PTX ISA, lane by lane."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import Kernel, UnsupportedError

from .lanes import b32, check, execute, mask, ptx


def test_moves():
    swap = "mov.b32 {%rs1, %rs2}, %r0;\nmov.b32 %r8, {%rs2, %rs1};"
    check(swap, [32], 32, lambda a: a >> 16 | (a & 0xFFFF) << 16)
    check("mov.b64 {%r1, _}, %rd0;\nmov.b64 %rd8, {%r1, %r1};", [64], 64,
          lambda a: (a & mask(32)) * (1 + (1 << 32)))  # fmt: skip
    check("mov.b64 %rd8, {%rs0, %rs1, %rs0, %rs1};", [16, 16], 64,
          lambda a, b: a | b << 16 | a << 32 | b << 48)  # fmt: skip
    check("mov.pred %p8, %p0;", [1], 1, lambda a: a)
    check("mov.b32 %r8, %r0;", [32], 32, lambda a: a)
    check("cvta.to.global.u64 %rd8, %rd0;", [64], 64, lambda a: a)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mov.u32 %r8, 0f3F800000;", 0x3F800000), ("mov.u32 %r8, -1;", mask(32)),
        ("mov.u32 %r8, 0x1FU;", 31), ("mov.f32 %r8, 1.5;", b32(1.5)), ("mov.u32 %r8, 7U;", 7),
    ],
)  # fmt: skip
def test_immediates(text, wanted):
    (found,) = execute(text, {}, "%r8")
    assert (found == wanted).all()


def test_special_registers():
    body = """mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %nctaid.x; mov.u32 %r5, %laneid; mov.u32 %r6, %warpid; mov.u32 %r7, %ctaid.y;
    mov.u32 %r8, %cluster_nctarank; mov.u32 %r9, %nctaid.z;"""
    names = [f"%r{i}" for i in range(1, 10)]
    tid, ctaid, ntid, nctaid, lane, warp, y, clusters, deep = execute(body, {}, *names)
    rows, lanes = np.arange(6)[:, None], np.arange(32)[None, :]  # three CTAs of two warps
    assert (tid == rows % 2 * 32 + lanes).all()
    assert (ctaid == rows // 2).all()
    assert (warp == rows % 2).all()
    assert (lane == lanes).all()
    for value, wanted in ((ntid, 64), (nctaid, 3), (y, 0), (clusters, 1), (deep, 1)):
        assert (value == wanted).all()


def test_masks_of_lanes_and_the_machine():
    masks = {
        "eq": lambda i: 1 << i, "lt": lambda i: (1 << i) - 1, "le": lambda i: (2 << i) - 1,
        "gt": lambda i: mask(32) >> i + 1 << i + 1, "ge": lambda i: mask(32) >> i << i,
    }  # fmt: skip
    for name, fn in masks.items():
        (found,) = execute(f"mov.u32 %r8, %lanemask_{name};", {}, "%r8")
        assert found[0].tolist() == [fn(i) for i in range(32)]
    sm, sms, grid, shared = execute(
        "mov.u32 %r1, %smid; mov.u32 %r2, %nsmid; mov.u64 %rd3, %gridid;"
        "mov.u32 %r4, %dynamic_smem_size;", {}, "%r1", "%r2", "%rd3", "%r4",
    )  # fmt: skip
    assert (sm[:, 0] == [0, 0, 1, 1, 2, 2]).all()
    assert (sms > 2).all()
    assert not grid.any()
    assert not shared.any()


def test_time_goes_on():
    one, two, three = execute(
        "mov.u32 %r1, %clock; add.s32 %r9, %r9, 1; mov.u64 %rd2, %clock64; mov.u64 %rd3,"
        "%globaltimer; mov.u32 %r4, %clock_hi;", {}, "%r1", "%rd2", "%rd3",
    )  # fmt: skip
    assert (one < two).all()
    assert (two < three).all()


def test_hints_have_no_effect():
    body = """prefetch.global.L2::evict_last [%rd1]; discard.global.L2 [%rd1], 128;
    applypriority.global.L2::evict_normal [%rd1], 128; prefetchu.L1 [%rd1]; nanosleep.u32 100;
    createpolicy.fractional.L2::evict_first.b64 %rd2, 1.0; mov.u32 %r8, 5;"""
    (found,) = execute(body, {}, "%r8")
    assert (found == 5).all()


@pytest.mark.parametrize("operand", ["%pm0", "nothing"])
def test_refusals_name_the_operand(operand):
    with pytest.raises(UnsupportedError, match=f"operand {operand}"):
        Kernel(ptx(f"mov.u32 %r1, {operand};"), 0, 1)
