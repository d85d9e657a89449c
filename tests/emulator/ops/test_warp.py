"""Shuffles, votes and reductions of a warp: against the PTX ISA, warp by warp."""

from __future__ import annotations

import math

import pytest

from r2n_kernels.emulator import EmulationError, Kernel, UnsupportedError

from .lanes import LANES, b32, below, check, execute, f32, mask, ptx, signed


def shuffle(mode: str, control: int):
    def fn(value: list[int], distance: list[int]) -> list[int]:
        out = []
        for lane in range(LANES):
            n, clamp, segment = distance[lane] & 31, control & 31, control >> 8 & 31
            last, first = (lane & segment) | (clamp & ~segment), lane & segment
            target = {
                "up": lane - n, "down": lane + n, "bfly": lane ^ n, "idx": first | (n & ~segment),
            }[mode]  # fmt: skip
            inside = target >= last if mode == "up" else target <= last
            out.append((value[target if inside else lane], inside))
        return out

    return fn


@pytest.mark.parametrize(
    ("mode", "control"),
    [("idx", 31), ("bfly", 31), ("up", 0), ("down", 31), ("bfly", 0x1C03), ("idx", 0x181F),
     ("down", 0x180F), ("up", 0x1000), ("idx", 0x1C1F), ("up", 0x1800)],
)  # fmt: skip
def test_shuffles(mode, control):
    fn, draws = shuffle(mode, control), [None, below(32)]
    text = f"shfl.sync.{mode}.b32 %r8, %r0, %r1, {control}, -1;"
    check(text, [32, 32], 32, lambda *x: [a for a, _ in fn(*x)], draws, whole=True)
    text = f"shfl.sync.{mode}.b32 %r7|%p8, %r0, %r1, {control}, -1;"
    check(text, [32, 32], 1, lambda *x: [p for _, p in fn(*x)], draws, whole=True)


def test_votes():
    mostly = lambda r: r.random() < 0.97  # noqa: E731
    rarely = lambda r: r.random() < 0.03  # noqa: E731
    for draw in (mostly, rarely, below(2)):
        vote = lambda mode, fn: check(  # noqa: E731
            f"vote.sync.{mode}.pred %p8, %p0, -1;", [1], 1, lambda p: [fn(p)] * LANES,
            [draw], whole=True)  # fmt: skip  # noqa: B023
        vote("any", any)
        vote("all", all)
        vote("uni", lambda p: all(p) or not any(p))
    check("vote.sync.ballot.b32 %r8, %p0, -1;", [1], 32,
          lambda p: [sum(bool(x) << i for i, x in enumerate(p))] * LANES, whole=True)  # fmt: skip
    check("vote.sync.ballot.b32 %r8, !%p0, -1;", [1], 32,
          lambda p: [sum((not x) << i for i, x in enumerate(p))] * LANES, whole=True)  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "fn"),
    [
        ("add.s32", sum), ("min.u32", min), ("max.u32", max),
        ("min.s32", lambda a: min(signed(x, 32) for x in a)),
        ("max.s32", lambda a: max(signed(x, 32) for x in a)),
    ],
)  # fmt: skip
def test_reductions(mode, fn):
    check(f"redux.sync.{mode} %r8, %r0, -1;", [32], 32, lambda a: [fn(a)] * LANES, whole=True)


def test_bitwise_reductions():
    def fold(fn):
        def reduce(a: list[int]) -> list[int]:
            total = a[0]
            for x in a[1:]:
                total = fn(total, x)
            return [total] * LANES

        return reduce

    for name, fn in (("and", int.__and__), ("or", int.__or__), ("xor", int.__xor__)):
        check(f"redux.sync.{name}.b32 %r8, %r0, -1;", [32], 32, fold(fn), whole=True)


def test_reductions_of_floats():
    """NaN is passed over, or not; sizes alone count where that is asked for."""
    number = lambda r: b32(r.uniform(-9, 9))  # noqa: E731
    draws = [lambda r: number(r) if r.random() < 0.95 else 0x7FFFFFFF]

    def fold(pick, *, size: bool = False, propagate: bool = False):
        def reduce(a: list[int]) -> list[int]:
            numbers = [abs(f32(x)) if size else f32(x) for x in a]
            if propagate and any(map(math.isnan, numbers)):
                return [0x7FFFFFFF] * LANES
            return [b32(pick((x for x in numbers if not math.isnan(x)), default=math.nan))] * LANES

        return reduce

    for name, pick in (("min", min), ("max", max)):
        check(f"redux.sync.{name}.f32 %r8, %r0, -1;", [32], 32, fold(pick), draws, whole=True)
        check(f"redux.sync.{name}.abs.f32 %r8, %r0, -1;", [32], 32, fold(pick, size=True),
              [number], whole=True)  # fmt: skip
        check(f"redux.sync.{name}.NaN.f32 %r8, %r0, -1;", [32], 32, fold(pick, propagate=True),
              [draws[0] if name == "min" else number], whole=True)  # fmt: skip


def test_lanes_that_match():
    check("match.any.sync.b32 %r8, %r0, -1;", [32], 32,
          lambda a: [sum((y == x) << i for i, y in enumerate(a)) for x in a],
          [below(3)], whole=True)  # fmt: skip
    check("match.any.sync.b64 %r8, %rd0, -1;", [64], 32,
          lambda a: [sum((y == x) << i for i, y in enumerate(a)) for x in a],
          [lambda r: r.randrange(3) << 40], whole=True)  # fmt: skip
    agree = lambda a: len(set(a)) == 1  # noqa: E731
    check("match.all.sync.b32 %r8|%p1, %r0, -1;", [32], 32,
          lambda a: [mask(32) * agree(a)] * LANES, [below(2)], whole=True)  # fmt: skip
    check("match.all.sync.b32 %r7|%p8, %r0, -1;", [32], 1,
          lambda a: [agree(a)] * LANES, [below(2)], whole=True)  # fmt: skip


def test_a_matrix_is_transposed():
    def transpose(a: list[int]) -> list[int]:
        rows = [[word >> 16 * half & 0xFFFF for word in a[4 * i : 4 * i + 4] for half in (0, 1)]
                for i in range(8)]  # fmt: skip
        return [rows[2 * (i % 4)][i // 4] | rows[2 * (i % 4) + 1][i // 4] << 16 for i in range(32)]

    check("movmatrix.sync.aligned.m8n8.trans.b16 %r8, %r0;", [32], 32, transpose, whole=True)


def test_one_lane_is_elected():
    who, active = execute("elect.sync %r7|%p1, -1;\nselp.b32 %r8, 1, 0, %p1;\nactivemask.b32 %r6;",
                          {}, "%r8", "%r6")  # fmt: skip
    assert (who.sum(axis=1) == 1).all()
    assert (active == 0xFFFFFFFF).all()


@pytest.mark.parametrize("text", ["shfl.sync.idx.b32 %r1, %r2, 0, 31, -1;", "bar.sync 0;"])
def test_a_warp_does_not_diverge(text):
    body = f"mov.u32 %r3, %laneid;\nsetp.lt.u32 %p1, %r3, 7;\n@%p1 {text}"
    with pytest.raises(EmulationError, match=r"lanes 0-6 wait in .* for lanes 7-31 "):
        execute(body, {})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("redux.sync.add.f32 %r1, %r2, -1;", r"redux\.sync\.add\.f32"),
        ("redux.sync.max.abs.s32 %r1, %r2, -1;", "modifier abs"),
        ("redux.sync.mul.s32 %r1, %r2, -1;", r"redux\.sync\.mul"),
        ("shfl.sync.left.b32 %r1, %r2, 1, 31, -1;", r"shfl\.sync\.left"),
        ("vote.sync.most.pred %p1, %p2, -1;", r"vote\.sync\.most"),
        ("match.some.sync.b32 %r1, %r2, -1;", "modifier some"),
    ],
)
def test_refusals_name_the_instruction(text, match):
    with pytest.raises(UnsupportedError, match=match):
        Kernel(ptx(text), 0, 1)
