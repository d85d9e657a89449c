"""This file builds what lanes of a warp do together: shuffles, votes, reductions."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import LANES, Array, decode, encode, is_float
from .build import assign

LANE = np.arange(LANES)[None, :]
SIGN, INFINITY, NAN = map(np.uint32, (0x80000000, 0x7F800000, 0x7FFFFFFF))


@op("warp", "shfl")
def _shuffle(k: Kernel, ins: Instruction) -> Run:
    mode = ins.modifiers[1]
    if mode not in ("up", "down", "bfly", "idx"):
        raise UnsupportedError(f"instruction {ins.text}")
    targets = [k.dst_or_sink(ins, name.strip()) for name in ins.operands[0].split("|")]
    sources = [k.src(x, "u32") for x in ins.operands[1:4]]

    def run(g: Group) -> None:
        value, n, control = (g.value(s) for s in sources)
        n, control = n.astype(np.int64) & 31, control.astype(np.int64)
        segment, clamp = (control >> 8) & 31, control & 31
        low, high = LANE & segment, (LANE & segment) | (clamp & ~segment)
        lane = {
            "up": LANE - n, "down": LANE + n, "bfly": LANE ^ n, "idx": low | (n & ~segment),
        }[mode]  # fmt: skip
        valid = lane >= high if mode == "up" else lane <= high
        moved = np.take_along_axis(value, np.where(valid, lane, LANE) & 31, axis=1)
        for target, result in zip(targets, (moved, valid), strict=False):
            if target is not None:
                g.regs[target] = result

    return run


@op("warp", "elect", "activemask")
def _elect(k: Kernel, ins: Instruction) -> Run:
    targets = [k.dst_or_sink(ins, name.strip()) for name in ins.operands[0].split("|")]

    def run(g: Group) -> None:
        leader = g.leaders[:, None] % LANES
        bits = ballot(g.lanes) if ins.base == "activemask" else leader
        for target, value in zip(targets, (bits.astype(np.uint32), leader == LANE), strict=False):
            if target is not None:
                g.regs[target] = value

    return run


def ballot(p: Array) -> Array:
    """Return a bit per lane, [warps, 1]."""
    return (p.astype(np.uint64) << LANE.astype(np.uint64)).sum(axis=1, keepdims=True)


def among(k: Kernel, ins: Instruction, run: Run, t: str, neutral: int | None) -> Run:
    """Run as if lanes that are elsewhere held `neutral`, or, by default, what another lane does."""
    name = ins.operands[1]
    slot = k.src(name.lstrip("!"), t)
    if neutral is not None and name.startswith("!"):
        neutral = 1 - neutral

    def some(g: Group) -> None:
        if g.mask is None:
            run(g)
            return
        old, value = g.regs[slot], g.value(slot)
        other = value.reshape(-1)[g.leaders][:, None] if neutral is None else neutral
        g.regs[slot] = np.where(g.mask, value, other).astype(old.dtype)
        run(g)
        if slot not in ins.destinations:
            g.regs[slot] = old

    return some


@op("warp", "vote")
def _vote(k: Kernel, ins: Instruction) -> Run:
    some, every = (lambda p: p.any(1, keepdims=True)), (lambda p: p.all(1, keepdims=True))
    modes = {"any": some, "all": every, "uni": lambda p: every(p) | ~some(p), "ballot": ballot}
    fn = modes[ins.modifiers[1]]
    dtype = np.uint32 if "ballot" in ins.modifiers else np.bool_
    run = assign(
        k, ins, ins.operands[1:2], ["pred"],
        lambda p: [fn(np.broadcast_to(p, (p.shape[0], LANES))).astype(dtype)],
    )  # fmt: skip
    return among(k, ins, run, "pred", 0 if "ballot" in ins.modifiers else None)


@op("warp", "redux")
def _reduce(k: Kernel, ins: Instruction) -> Run:
    t, mode = ins.types[-1], ins.modifiers[1]
    fns = {
        "add": np.add, "min": np.minimum, "max": np.maximum,
        "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    }  # fmt: skip
    sizes, floats = "abs" in ins.modifiers, is_float(t)
    ins.allow("sync", mode, *(("abs", "NaN") if floats else ()))
    if floats and mode in ("min", "max") and "NaN" not in ins.modifiers:
        fns |= {"min": np.fmin, "max": np.fmax}
    if mode not in fns or (floats and mode not in ("min", "max")):
        raise UnsupportedError(f"instruction {ins.text}")
    fn, dec, enc = fns[mode], decode(t), encode(t)

    def reduce(a: Array) -> list[Array]:
        lanes = dec(np.ascontiguousarray(np.broadcast_to(a, (a.shape[0], LANES))))
        if sizes:
            lanes = np.abs(lanes)
        bits = enc(fn.reduce(lanes, axis=1, dtype=lanes.dtype, keepdims=True))
        return [np.where(bits & ~SIGN > INFINITY, NAN, bits) if floats else bits]

    run = assign(k, ins, ins.operands[1:2], [t], reduce)
    return among(k, ins, run, t, 0 if mode in ("add", "xor") else None)


@op("warp", "match")
def _match(k: Kernel, ins: Instruction) -> Run:
    """Find the lanes that hold the same value: of each lane, or whether all do."""
    t, every = ins.types[-1], "all" in ins.modifiers
    ins.allow("sync", "any", "all")
    powers = np.uint64(1) << LANE.astype(np.uint64)

    def match(a: Array) -> tuple[Array, ...]:
        a = np.broadcast_to(a, (a.shape[0], LANES))
        same = a[:, :, None] == a[:, None, :]
        if not every:
            return ((same * powers).sum(axis=-1).astype(np.uint32),)
        agree = same[:, 0].all(axis=-1, keepdims=True)
        return np.where(agree, np.uint32(0xFFFFFFFF), np.uint32(0)), agree

    run = among(k, ins, assign(k, ins, ins.operands[1:2], [t], match), t, None)
    dst = k.src(ins.operands[0].split("|")[0].strip(), "b32")

    def among_members(g: Group) -> None:
        run(g)
        if g.mask is not None:  # lanes elsewhere were made to agree
            g.regs[dst] = g.regs[dst] & ballot(g.mask).astype(np.uint32)

    return among_members


@op("warp", "movmatrix")
def _transpose(k: Kernel, ins: Instruction) -> Run:
    """Transpose an 8x8 matrix of 16-bit elements: two of a row in each lane."""
    ins.allow("sync", "aligned", "m8n8", "trans")

    def move(a: Array) -> list[Array]:
        lanes = np.ascontiguousarray(np.broadcast_to(a, (a.shape[0], LANES)))
        tiles = lanes.view(np.uint16).reshape(-1, 8, 8).swapaxes(1, 2)
        return [np.ascontiguousarray(tiles).view(np.uint32).reshape(-1, LANES)]

    return assign(k, ins, ins.operands[1:2], ["b32"], move)
