"""tcgen05 is the tensor core that works on tensor memory (sm_100), for one CTA, dense operands.

The tensor core is an agent with a clock of its own: a product happens after what its issuing warp
did, and before whatever waits on the mbarrier that its commit arrives on. It runs when it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from ..clocks import Agents
from ..errors import EmulationError, UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..memory import Memory
from ..parse import Instruction
from ..types import UINT, Array
from .descriptors import tcgen05_tile
from .mbarrier import mbarrier_at, note_use, shared_value
from .mma import operand_decoder
from .tensor_memory import COLUMNS, ROWS, alloc, move, tensor, wait


@op("memory", "tcgen05")
def _tcgen05(k: Kernel, ins: Instruction) -> Run:
    what = ins.modifiers[0]
    if "cta_group::2" in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    if what in ("dealloc", "relinquish_alloc_permit") or what.startswith("fence::"):
        return lambda g: None
    if what == "alloc":
        return alloc(k, ins)
    if what in ("ld", "st"):
        return move(k, ins, what)
    if what.startswith("wait::"):
        return partial(wait, what[6:])
    if what == "commit":
        return _commit(k, ins)
    if what == "mma":
        return _mma(k, ins)
    raise UnsupportedError(f"instruction {ins.text}")


def _commit(k: Kernel, ins: Instruction) -> Run:
    at, select = k.address(ins.operands[0], "shared"), k.lanes(ins)

    def commit(g: Group) -> None:
        lanes = select(g)
        if not len(lanes):
            return
        state, cta, rows = tensor(g.batch), g.lane_cta[lanes], g.lane_row[lanes]
        address = shared_value(g, ins, at(g, lanes))
        note_use(g, ins, address, lanes)
        mine = [(of[np.isin(of, cta)], execute) for of, execute in state.open]
        rest = [(of[~np.isin(of, cta)], execute) for of, execute in state.open]
        state.open = [entry for entry in rest if len(entry[0])]
        state.cores.join(g.clock[rows], g.proxy[rows], cta)
        clock, proxy = state.cores.clock[cta].copy(), state.cores.proxy[cta].copy()

        def complete() -> None:
            for of, execute in mine:
                if len(of):
                    execute(of)
            mbarrier_at(g.batch, ins, address, cta).arrive(cta, clock, proxy)

        g.batch.pending.append(complete)
        g.tick()

    return commit


# (kind, format in the instruction descriptor) of operands and of accumulators
OPERANDS = {
    ("f16", 0): "f16", ("f16", 1): "bf16", ("tf32", 2): "tf32", ("i8", 0): "u8", ("i8", 1): "s8",
}  # fmt: skip
ACCUMULATORS = {
    ("f16", 0): np.float16, ("f16", 1): np.float32, ("tf32", 1): np.float32, ("i8", 2): np.int32,
}  # fmt: skip
REJECTED = 0b1111 | 0b11 << 13 | 0b1 << 23 | 0b11 << 29  # sparsity, saturation, negation, shifts


def accumulator_rows(m: int) -> Array:
    """Return the lane of tensor memory that holds each row."""
    rows = np.arange(m)
    return rows if m == ROWS else rows // 16 * 32 + rows % 16


@dataclass(frozen=True)
class Shape:
    """A Shape is what an instruction descriptor says of a product [m, depth] x [depth, n]."""

    m: int
    n: int
    size: int  # bytes of an operand's element
    decoders: tuple[Callable[[Array], Array], Callable[[Array], Array]]
    acc: type
    mn_major: tuple[int, int]

    @property
    def depth(self) -> int:
        return 32 // self.size


@lru_cache(maxsize=256)
def shape_of(kind: str, descriptor: int) -> Shape:
    m, n = (descriptor >> 24 & 31) * 16, (descriptor >> 17 & 63) * 8
    acc = ACCUMULATORS.get((kind, descriptor >> 4 & 3))
    a_type, b_type = (OPERANDS.get((kind, descriptor >> bit & 7)) for bit in (7, 10))
    if descriptor & REJECTED or m not in (64, ROWS) or acc is None or not (a_type and b_type):
        raise UnsupportedError(f"instruction descriptor {descriptor:#x}")
    (dec_a, size), (dec_b, _) = operand_decoder(a_type), operand_decoder(b_type)
    return Shape(m, n, size, (dec_a, dec_b), acc, (descriptor >> 15 & 1, descriptor >> 16 & 1))


class Source:
    """A Source is a product's operand [rows, depth]: bytes of shared, or words of tensor memory."""

    def __init__(self, memory: Memory, at: Array, size: int, decode: Callable) -> None:
        """`at` [rows, depth] is offsets of elements in a CTA's copy; in tensor memory of words."""
        self.memory, self.at, self.size, self.decode = memory, at, size, decode

    def inside(self, limit: int) -> bool:
        return self.at.min() >= 0 and self.at.max() + self.size <= limit

    def granules(self, cta: Array) -> Array:
        """Return the granules [CTAs, n], each once."""
        shift = self.memory.shift
        return np.unique(self.at >> shift) + (cta * (self.memory.stride >> shift))[:, None]

    def values(self, cta: Array) -> Array:
        """Return [CTAs, rows, depth] numbers."""
        at = self.at + (cta * self.memory.stride)[:, None, None]
        return self.decode(self.memory.rows(self.size)[:, 0][at // self.size])


def _mma(k: Kernel, ins: Instruction) -> Run:
    kind = next(m for m in ins.modifiers if m.startswith("kind::"))[6:]
    if kind not in ("f16", "tf32", "i8") or len(ins.operands) != 5:
        raise UnsupportedError(f"instruction {ins.text}")
    at, select = k.address(ins.operands[0], "shared"), k.lanes(ins)
    slots = [k.src(x, t) for x, t in zip(ins.operands[2:], ("u64", "u32", "pred"), strict=True)]
    a_in_tensor = ins.operands[1].startswith("[")
    if a_in_tensor:
        a_at = k.address(ins.operands[1], "shared")
    else:
        a_slot = k.src(ins.operands[1], "u64")
    k.widths["shared"].add(16)

    def issue(g: Group) -> None:
        lanes = select(g)
        if not len(lanes):
            return
        rows, cta = g.lane_row[lanes], g.lane_cta[lanes]
        if len(np.unique(rows)) < len(rows):
            raise EmulationError(f"{ins.source}: several lanes of a warp issue {ins.text[:60]}")
        state, shared = tensor(g.batch), g.batch.shared
        state.cores.join(g.clock[rows], g.proxy[rows], cta)
        d = shared_value(g, ins, at(g, lanes))
        if a_in_tensor:
            a = shared_value(g, ins, a_at(g, lanes))
        else:
            a = shared_value(g, ins, g.value(a_slot).reshape(-1)[lanes])
        b, descriptor, enable = (
            shared_value(g, ins, g.value(s).reshape(-1)[lanes]) for s in slots
        )  # fmt: skip
        shape = shape_of(kind, descriptor)
        m, n, depth, size = shape.m, shape.n, shape.depth, shape.size
        if (d | (a if a_in_tensor else 0)) >> 16:
            raise UnsupportedError(
                f"{ins.source}: lanes of tensor memory other than 0 in {ins.text}"
            )
        lines = accumulator_rows(m)[:, None] * (COLUMNS * 4)  # [m, 1] bytes
        if a_in_tensor:
            where, memory = lines + a * 4 + np.arange(depth) * size, state.memory
        else:
            where = tcgen05_tile(a, m, depth, size, shape.mn_major[0]) - shared.base
            memory = shared
        left = Source(memory, where, size, shape.decoders[0])
        where = tcgen05_tile(b, n, depth, size, shape.mn_major[1]) - shared.base
        right = Source(shared, where, size, shape.decoders[1])
        out = Source(state.memory, lines + (d + np.arange(n)) * 4, 4, lambda x: x)
        used = max(d + n, a + depth * size // 4 if a_in_tensor else 0)
        if (used > state.columns[cta]).any():
            row, text = rows[used > state.columns[cta]][0], f"column {used - 1} of tensor memory"
            g.launch.report("bounds", g, ins, row, 0, f"{text} is not allocated")
        for operand in (left, right):
            if operand.memory is shared and not operand.inside(k.shared_bytes):
                text = f"operand at shared bytes {operand.at.min()} to {operand.at.max()}"
                g.launch.report("bounds", g, ins, int(rows[0]), 0, text)
        if g.launch.track:
            _note(ins, state.cores, left, right, out, cta, enable)

        def execute(cta: Array) -> None:
            product = left.values(cta) @ right.values(cta).swapaxes(1, 2)
            place = (out.at + (cta * out.memory.stride)[:, None, None]) // 4
            words = out.memory.rows(4)[:, 0]
            if enable:
                acc = words[place]
                narrow = acc.astype(np.uint16) if shape.acc is np.float16 else acc
                product = product + narrow.view(shape.acc)
            raw = product.astype(shape.acc, copy=False)
            words[place] = raw.view(UINT[8 * raw.itemsize])  # a half has a word to itself

        state.open.append((cta, execute))
        g.launch.counters.macs += m * n * depth * len(cta)

    return issue


def _note(
    ins: Instruction, cores: Agents, left: Source, right: Source, out: Source, cta: Array,
    accumulate: int,
) -> None:  # fmt: skip
    """Check races of what the tensor cores of `cta` read, and of their accumulators."""
    for source in (left, right, out):
        at = source.granules(cta)
        of = np.repeat(cta, at.shape[1])
        at, lane = at.reshape(-1, 1), np.zeros_like(of)
        if source is not out or accumulate:
            proxy = source.memory is right.memory  # shared memory
            source.memory.read(cores, ins, at, of, lane, proxy=proxy)
        if source is out:
            source.memory.write(cores, ins, at, of, lane)
