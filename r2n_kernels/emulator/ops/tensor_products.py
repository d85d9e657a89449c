"""tcgen05.mma multiplies tiles of shared or tensor memory into tensor memory (sm_100)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..clocks import Agents
from ..errors import EmulationError, UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run
from ..memory import Memory
from ..parse import Instruction
from ..types import LANES, UINT, Array
from .descriptors import tcgen05_tile
from .mbarrier import disagreeing, shared_value
from .product_shapes import ROW_BYTES, SCALED, Shape, shape_of
from .tensor_memory import COLUMNS, ROWS, Tensor, tensor

LINE = COLUMNS * 4  # bytes of a lane of tensor memory
KINDS = ("f16", "tf32", "i8", "f8f6f4", *SCALED)
VECTORS = {"1X": 1, "2X": 2, "4X": 4}


def accumulator_rows(m: int) -> Array:
    """Return the lane of tensor memory that holds each row."""
    rows = np.arange(m)
    return rows if m == ROWS else rows // 16 * 32 + rows % 16


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
        mine = self.at >> shift
        first = int(mine.min())
        there = np.zeros(int(mine.max()) - first + 1, np.bool_)
        there[mine - first] = True  # many times faster than np.unique
        return np.flatnonzero(there) + first + (cta * (self.memory.stride >> shift))[:, None]

    def values(self, cta: Array) -> Array:
        """Return [CTAs, rows, depth] numbers."""
        at = self.at + (cta * self.memory.stride)[:, None, None]
        return self.decode(self.memory.rows(self.size)[:, 0][at // self.size])


def _blocks(ins: Instruction, kind: str) -> int:
    """Return the scales per row of an operand that the name asks for, 0 for the kind's own."""
    for m in ins.modifiers:
        if m.startswith("scale_vec::"):
            return VECTORS[m[11:]]
        if m in ("block16", "block32"):
            return {"mxf8f6f4": 32, "mxf4": 64, "mxf4nvf4": 64}[kind] // int(m[5:])
    return 0


def mma(k: Kernel, ins: Instruction) -> Run:
    kind = next(m for m in ins.modifiers if m.startswith("kind::"))[6:]
    scaled = kind in SCALED
    if kind not in KINDS or len(ins.operands) != (7 if scaled else 5):
        raise UnsupportedError(f"instruction {ins.text}")
    if any(m in ("sp", "ws") or m.startswith("ashift") for m in ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    d_text, a_text, b_text, shape_text, *scale_texts, enable_text = ins.operands
    at, blocks = k.address(d_text, "shared"), _blocks(ins, kind)
    b_slot, shape_slot = k.src(b_text, "u64"), k.src(shape_text, "u32")
    enable_slot = k.src(enable_text, "pred")
    scales_at = [k.address(x, "shared") for x in scale_texts]
    a_in_tensor = a_text.startswith("[")
    a_at = k.address(a_text, "shared") if a_in_tensor else None
    a_slot = None if a_in_tensor else k.src(a_text, "u64")
    pair = 2 if "cta_group::2" in ins.modifiers else 1
    k.widths["shared"].add(16)

    def issue(g: Group, lanes: Array) -> Array | None:
        operands = [g.value(s).reshape(-1)[lanes] for s in (b_slot, shape_slot, enable_slot)]
        apart = disagreeing(g, lanes, at(g, lanes), *operands)
        if apart is not None:
            return apart
        rows, cta = g.lane_row[lanes], g.lane_cta[lanes]
        if len(np.unique(rows)) < len(rows):
            raise EmulationError(f"{ins.source}: several lanes of a warp issue {ins.text[:60]}")

        def agreed(slot: int | None) -> int:
            assert slot is not None  # A is there, or in tensor memory
            return shared_value(g, ins, g.value(slot).reshape(-1)[lanes])

        state, shared = tensor(g.batch), g.batch.shared
        state.cores.join(g.clock[rows], g.proxy[rows], cta)
        d = shared_value(g, ins, at(g, lanes))
        a = agreed(a_slot) if a_at is None else shared_value(g, ins, a_at(g, lanes))
        b, descriptor, enable = (agreed(s) for s in (b_slot, shape_slot, enable_slot))
        shape = shape_of(kind, blocks, descriptor)
        m, n = shape.m // pair, shape.n // pair  # rows of A and of B that one CTA has
        if m not in (64, ROWS) or (pair > 1 and m < ROWS and (a_in_tensor or scales_at)):
            raise UnsupportedError(f"instruction descriptor {descriptor:#x}: {shape.m} rows")
        if (d | (a if a_in_tensor else 0)) >> 16:
            raise UnsupportedError(
                f"{ins.source}: lanes of tensor memory other than 0 in {ins.text}"
            )
        lines = accumulator_rows(m)[:, None] * LINE  # [m, 1] bytes
        size, elements = shape.size, ROW_BYTES // shape.size
        if a_in_tensor:
            if shape.depth != len(shape.used[0]):
                raise UnsupportedError(f"instruction {ins.text}")
            where, memory = lines + a * 4 + np.arange(elements) * size, state.memory
        else:
            where = tcgen05_tile(a, m, elements, size, shape.mn_major[0]) - shared.base
            memory = shared
        left = Source(memory, where[:, shape.used[0]], size, shape.decoders[0])
        where = tcgen05_tile(b, n, elements, size, shape.mn_major[1]) - shared.base
        right = Source(shared, where[:, shape.used[1]], size, shape.decoders[1])
        place = lines + (d + np.arange(shape.n)) * 4
        if pair > 1 and m < ROWS:  # the other half of the columns is in the other half of the lanes
            row, column = np.arange(m)[:, None], np.arange(shape.n)
            place = (row + column // n * m) * LINE + (d + column % n) * 4
        out = Source(state.memory, place, 4, lambda x: x)
        scales = [
            _scales(state, shape, shared_value(g, ins, of(g, lanes)), which, (m, shape.n)[which])
            for which, of in enumerate(scales_at)
        ]
        used = max(int(s.at.max() % LINE // 4) + 1 for s in (out, *scales))
        used = max(used, a + ROW_BYTES // 4 if a_in_tensor else 0)
        if (used > state.columns[cta]).any():
            row, text = rows[used > state.columns[cta]][0], f"column {used - 1} of tensor memory"
            g.launch.report("bounds", g, ins, row, 0, f"{text} is not allocated")
        for operand in (left, right):
            if operand.memory is shared and not operand.inside(k.shared_bytes):
                text = f"operand at shared bytes {operand.at.min()} to {operand.at.max()}"
                g.launch.report("bounds", g, ins, int(rows[0]), 0, text)
        members = [cta // pair * pair + i for i in range(pair)]
        if g.launch.track:
            for member in members:
                note(ins, state.cores, [left, right, *scales], out, cta, member, enable)
        state.open.append((cta, _product(shape, left, right, scales, out, enable, pair)))
        g.launch.work(g).macs += shape.m * shape.n * shape.depth * len(cta)
        return None

    return k.on_lanes(ins, issue)


def _scales(state: Tensor, shape: Shape, at: int, which: int, rows: int) -> Source:
    """Return the scales [rows, per row] of one operand: row r is in lane r % 32, column r // 32.

    All four quarters of tensor memory hold them; the first one is read here.
    """
    assert shape.scales is not None
    row = np.arange(rows)[:, None]
    first = shape.scales.first[which] + np.arange(shape.scales.per_row)
    place = row % LANES * LINE + ((at & 0xFFFF) + row // LANES) * 4 + first
    return Source(state.memory, place, 1, shape.scales.decode)


def _product(
    shape: Shape, left: Source, right: Source, scales: list[Source], out: Source, enable: int,
    pair: int,
) -> Callable[[Array], None]:  # fmt: skip
    def scaled(values: Array, which: int, cta: Array) -> Array:
        if not scales:
            return values
        factors = scales[which].values(cta).astype(np.float64)
        return values * np.repeat(factors, shape.depth // factors.shape[2], axis=2)

    def execute(cta: Array) -> None:
        """Multiply, for each CTA of a pair its own rows of A with the columns of both."""
        members = [cta // pair * pair + i for i in range(pair)]
        columns = np.concatenate([right.values(member) for member in members], axis=1)
        for member in members:
            add(member, columns)

    def add(cta: Array, columns: Array) -> None:
        product = scaled(left.values(cta), 0, cta) @ scaled(columns, 1, cta).swapaxes(1, 2)
        place = (out.at + (cta * out.memory.stride)[:, None, None]) // 4
        words = out.memory.rows(4)[:, 0]
        if enable:
            acc = words[place]
            narrow = acc.astype(np.uint16) if shape.acc is np.float16 else acc
            product = product + narrow.view(shape.acc)
        raw = product.astype(shape.acc, copy=False)
        words[place] = raw.view(UINT[8 * raw.itemsize])  # a half has a word to itself

    return execute


def note(
    ins: Instruction, cores: Agents, sources: list[Source], out: Source, cta: Array,
    member: Array, accumulate: int,
) -> None:  # fmt: skip
    """Check races of what the cores of `cta` read in CTAs `member`, and of accumulators there."""
    for source in (*sources, out):
        at = source.granules(member)
        of = np.repeat(cta, at.shape[1])
        at, lane = at.reshape(-1, 1), np.zeros_like(of)
        if source is not out or accumulate:
            proxy = source.memory is not out.memory  # shared memory
            source.memory.read(cores, ins, at, of, lane, proxy=proxy)
        if source is out:
            source.memory.write(cores, ins, at, of, lane)
