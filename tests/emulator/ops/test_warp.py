"""Shuffles, votes and reductions of a warp: against the PTX ISA, warp by warp."""

from __future__ import annotations

import pytest

from r2n_kernels.emulator import EmulationError, Kernel, UnsupportedError

from .lanes import LANES, below, check, execute, ptx, signed


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
        ("redux.sync.max.NaN.abs.f32 %r1, %r2, -1;", r"redux\.sync\.max\.NaN\.abs"),
        ("redux.sync.mul.s32 %r1, %r2, -1;", r"redux\.sync\.mul"),
        ("shfl.sync.left.b32 %r1, %r2, 1, 31, -1;", r"shfl\.sync\.left"),
        ("vote.sync.most.pred %p1, %p2, -1;", r"vote\.sync\.most"),
        ("match.any.sync.b32 %r1, %r2, -1;", r"match\.any"),
    ],
)
def test_refusals_name_the_instruction(text, match):
    with pytest.raises(UnsupportedError, match=match):
        Kernel(ptx(text), 0, 1)
