"""This file builds atomics: global and shared, of numbers, packed pairs and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction, vector
from ..types import LANES, UINT, Array, decode, encode, is_float, type_bits
from .access import memory_of, space_of


def _swap(old: Array, compare: Array, new: Array) -> Array:
    return np.where(old == compare, new, old)


UPDATE: dict[str, Callable[..., Array]] = {
    "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "exch": lambda old, new: new,
    "cas": _swap,
    "inc": lambda old, top: np.where(old >= top, 0, old + 1).astype(old.dtype),
    "dec": lambda old, top: np.where((old == 0) | (old > top), top, old - 1).astype(old.dtype),
}  # fmt: skip
QUIET = {"min": np.fmin, "max": np.fmax}
# what they order, and for whom, is in `ins.modifiers` for whoever looks for races
ORDER = ("relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys")
VECTORS = ("v2", "v4", "v8")


@op("memory", "atom", "red")
def _atomic(k: Kernel, ins: Instruction) -> Run:
    """Build an atomic: lanes that meet at one address follow each other."""
    t, operands, space = ins.types[-1], list(ins.operands), space_of(ins) or "global"
    name = next(m for m in ins.modifiers if m in UPDATE)
    hinted = "L2::cache_hint" in ins.modifiers
    ins.allow(*UPDATE, *ORDER, *VECTORS, space, "shared::cta", "noftz", "L2::cache_hint")
    if space == "param" or type_bits(t) > 64:
        raise UnsupportedError(f"instruction {ins.text}")
    dsts = []
    if ins.base == "atom":
        dsts = [k.dst_or_sink(ins, x) for x in vector(operands.pop(0))]
    sources = [vector(o) for o in (operands[1:-1] if hinted else operands[1:])]
    n, elem = len(sources[0]), type_bits(t) // 8
    srcs = [[k.src(x, t) for x in source] for source in sources]
    address = k.address(operands[0], space)
    dec, enc = decode(t), encode(t)
    fn = QUIET.get(name, UPDATE[name]) if is_float(t) else UPDATE[name]
    k.widths[space].add(elem * n)
    if name in ("cas", "exch"):  # of bits

        def change(old: Array, *x: Array) -> Array:
            return fn(old, *x)

    else:

        def change(old: Array, *x: Array) -> Array:
            return enc(fn(dec(old), *map(dec, x)))

    wanted = any(d is not None for d in dsts)

    def run(g: Group, lanes: Array) -> None:
        memory = memory_of(g, space)
        off, lanes = memory.locate(g, ins, address(g, lanes), elem * n, lanes)
        memory.count("atom", g, off, elem * n, lanes)
        view, place = memory.rows(elem, n), off // (elem * n)
        values: list[Array] = [np.empty((len(lanes), n), UINT[8 * elem]) for _ in srcs]
        for value, slots in zip(values, srcs, strict=True):
            for i, s in enumerate(slots):
                value[:, i] = g.value(s).reshape(-1)[lanes]
        old: Array = np.empty((len(lanes), n), UINT[8 * elem])
        for turn in _turns(place):
            old[turn] = view[place[turn]]
            view[place[turn]] = change(old[turn], *(value[turn] for value in values))
        g.launch.changes += int((view[place] != old).any())
        wrote = (old == values[0]).all(1) if name == "cas" else None
        at = memory.granules(off, elem * n)
        memory.access(g, ins, at, g.lane_row[lanes], lanes % LANES, wrote)
        if wanted:
            for i, d in enumerate(dsts):
                if d is not None:
                    g.merge(d, old[:, i], lanes)

    return k.on_lanes(ins, run)


def _turns(place: Array) -> Iterator[Array | slice]:
    """Yield who goes at once: those after others of the same place have later turns."""
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    first = np.searchsorted(ordered, ordered)
    turn = np.arange(len(place)) - first
    last = int(turn.max(initial=0))
    if last == 0:
        yield slice(None)
        return
    bounds = np.searchsorted(np.sort(turn), np.arange(last + 2))
    order = order[np.argsort(turn, kind="stable")]
    for start, stop in pairwise(bounds):
        yield order[start:stop]
