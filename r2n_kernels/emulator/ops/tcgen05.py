"""tcgen05: tensor memory and its tensor core (sm_100), for one CTA and dense operands.

The tensor core is an agent with a clock of its own: a product happens after what its issuing warp
did, and before whatever waits on the mbarrier that its commit arrives on. It runs when it arrives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..batch import Batch
from ..errors import EmulationError, UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..memory import Memory, Region
from ..parse import Instruction, vector
from ..races import Agents
from ..types import LANES, Array
from .descriptors import tcgen05_tile
from .mbarrier import mbarrier_at, shared_value
from .mma import operand_decoder

ROWS, COLUMNS = 128, 512  # of tensor memory, 4 bytes each
PENDING_LD, PENDING_ST = "ld", "st"


@dataclass
class Tensor:
    """Tensor memory and the tensor cores of a batch: a row of `cores` a CTA."""

    memory: Memory
    cores: Agents
    columns: Array  # allocated, by CTA
    open: list = field(default_factory=list)  # (CTAs, product) issued and not committed
    moves: dict = field(default_factory=dict)  # by kind: (group, granules, rows, key) in flight


def tensor(batch: Batch) -> Tensor:
    if "tensor" not in batch.state:
        ctas, agents, size = len(batch.places), batch.launch.kernel.agents, ROWS * COLUMNS * 4
        memory = Memory(
            batch.launch, "tensor memory", 0, size, 4, [Region(0, size, "tensor memory")],
            copies=ctas,
        )  # fmt: skip
        memory.data[:] = 0xFF
        clock, proxy = (np.zeros((ctas, agents), np.int32) for _ in range(2))
        places = np.arange(ctas)
        core = Agents(np.full(ctas, agents - 1), places, batch.places + 1, clock, proxy)
        core.tick()
        batch.state["tensor"] = Tensor(memory, core, np.zeros(ctas, np.int64))
    return batch.state["tensor"]


@op("memory", "tcgen05")
def _tcgen05(k: Kernel, ins: Instruction) -> Run:
    what = ins.modifiers[0]
    if "cta_group::2" in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    if what in ("dealloc", "relinquish_alloc_permit") or what.startswith("fence::"):
        return lambda g: None
    if what == "alloc":
        return _alloc(k, ins)
    if what in ("ld", "st"):
        return _move(k, ins, what)
    if what.startswith("wait::"):
        return partial(_wait, what[6:])
    if what == "commit":
        return _commit(k, ins)
    if what == "mma":
        return _mma(k, ins)
    raise UnsupportedError(f"instruction {ins.text}")


def _alloc(k: Kernel, ins: Instruction) -> Run:
    at, columns = k.address(ins.operands[0], "shared"), k.src(ins.operands[1], "u32")
    select = k.lanes(ins)
    k.widths["shared"].add(4)

    def alloc(g: Group) -> None:
        lanes = select(g)[::LANES]  # one lane of each warp that allocates
        if not len(lanes):
            return
        state, cta = tensor(g.batch), g.lane_cta[lanes]
        base, n = state.columns[cta], int(g.value(columns)[0, 0])
        if (base + n > COLUMNS).any():
            raise EmulationError(f"{ins.source}: tensor memory is exhausted")
        state.columns[cta] += n
        off, lanes = g.batch.shared.locate(g, ins, at(g, lanes), 4, lanes)
        values = base.astype(np.uint32)[:, None]
        g.batch.shared.store(g, ins, off, values, lanes, "tcgen05.alloc")

    return alloc


def _move(k: Kernel, ins: Instruction, what: str) -> Run:
    """Register j of lane t <-> column j of tensor memory's lane t, of the warp's 32."""
    shape = next(m for m in ins.modifiers if re.fullmatch(r"\d+x\d+b(x2)?", m))
    odd = "pack::16b" in ins.modifiers or "unpack::16b" in ins.modifiers
    if shape not in ("32x32b", "16x32bx2") or odd:
        raise UnsupportedError(f"instruction {ins.text[:80]}")
    load = what == "ld"
    where, regs = ins.operands[load], ins.operands[0 if load else -1]
    half = int(ins.operands[2 if load else 1], 0) if shape == "16x32bx2" else 0
    names = vector(regs)
    slots = [k.dst(ins, x) if load else k.src(x, "b32") for x in names]
    at, key, select, lane = k.address(where, "shared"), tuple(slots), k.lanes(ins), np.arange(LANES)
    row_of_lane = lane if shape == "32x32b" else lane % 16
    column_of_lane = np.arange(len(slots)) + (lane // 16 * half)[:, None]  # [32, n]

    def finish(g: Group) -> None:
        for slot, value in zip(slots, np.moveaxis(g.acc.pop(key), 2, 0), strict=True):
            g.regs[slot] = np.ascontiguousarray(value)

    def run(g: Group):
        lanes = select(g)
        if not len(lanes):
            return None
        if lanes is not g.all:
            return _whole_warps(g, ins, lanes)
        state, address = tensor(g.batch), at(g, g.all).reshape(g.shape)[:, 0]
        row, column = address >> 16, address & 0xFFFF
        if (row // LANES != g.warp % 4).any():
            raise EmulationError(f"{ins.source}: a warp accesses lanes of tensor memory of another")
        columns = column[:, None, None] + column_of_lane
        if (columns.max((1, 2)) >= state.columns[g.cta]).any():
            text = f"column {columns.max()} of tensor memory, {state.columns.min()} are allocated"
            g.launch.report("bounds", g, ins, 0, 0, text)
        granules = (row[:, None, None] + row_of_lane[:, None]) * COLUMNS + columns
        granules = granules + (g.cta * (state.memory.stride // 4))[:, None, None]  # [warps, 32, n]
        flat = granules.reshape(-1, len(slots))
        view = state.memory.rows(4)[:, 0]
        if load:
            state.memory.read(g, ins, flat, g.lane_row, g.all % LANES, pending=True)
            g.acc[key], g.inflight[key] = view[granules], finish
        else:
            state.memory.write(g, ins, flat, g.lane_row, g.all % LANES, pending=True)
            view[granules] = np.stack([g.value(s) for s in slots], axis=2)
        g.moves.setdefault(what, []).append((flat, g.lane_row, key))
        return None

    return run


def _whole_warps(g: Group, ins: Instruction, lanes: Array) -> Array:
    """[warps] that a predicate selects, for a group to be split by."""
    counts = np.bincount(g.lane_row[lanes], minlength=len(g))
    if not np.isin(counts, (0, LANES)).all():
        raise EmulationError(f"{ins.source}: a warp diverges in {ins.text[:80]}")
    return counts == LANES


def _wait(kind: str, g: Group) -> None:
    shadow = tensor(g.batch).memory.shadow
    for at, rows, key in g.moves.pop(kind, []):
        if kind == PENDING_LD:
            if key in g.inflight:
                g.inflight.pop(key)(g)
            if shadow is not None:
                shadow.retire_reads(g, at, rows)
        elif shadow is not None:
            shadow.retire_writes(g, at, rows)


def _commit(k: Kernel, ins: Instruction) -> Run:
    at, select = k.address(ins.operands[0], "shared"), k.lanes(ins)

    def commit(g: Group) -> None:
        lanes = select(g)
        if not len(lanes):
            return
        state, cta, rows = tensor(g.batch), g.lane_cta[lanes], g.lane_row[lanes]
        address = shared_value(g, ins, at(g, lanes))
        mine = [entry for entry in state.open if np.isin(entry[0], cta).any()]
        if not all(np.isin(of, cta).all() for of, _ in mine):
            raise UnsupportedError(f"{ins.source}: CTAs that multiplied together commit apart")
        state.open = [entry for entry in state.open if not np.isin(entry[0], cta).any()]
        state.cores.join(g.clock[rows], g.proxy[rows], cta)
        clock, proxy = state.cores.clock[cta].copy(), state.cores.proxy[cta].copy()

        def complete() -> None:
            for _, execute in mine:
                execute()
            mbarrier_at(g.batch, address, cta).arrive(cta, clock, proxy)

        g.batch.pending.append(complete)
        g.tick()

    return commit


TYPES = {("f16", 0): "f16", ("f16", 1): "bf16", ("tf32", 2): "tf32"}


def accumulator_rows(m: int) -> Array:
    """Lane of tensor memory that holds each row."""
    rows = np.arange(m)
    return rows if m == ROWS else rows // 16 * 32 + rows % 16


def _mma(k: Kernel, ins: Instruction) -> Run:
    kind = next(m for m in ins.modifiers if m.startswith("kind::"))[6:]
    if kind not in ("f16", "tf32") or len(ins.operands) != 5 or ins.operands[1].startswith("["):
        raise UnsupportedError(f"instruction {ins.text}")
    at, select = k.address(ins.operands[0], "shared"), k.lanes(ins)
    types = ("u64", "u64", "u32", "pred")
    slots = [k.src(x, t) for x, t in zip(ins.operands[1:], types, strict=True)]
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
        a, b, shape, enable = (
            shared_value(g, ins, g.value(s).reshape(-1)[lanes]) for s in slots
        )  # fmt: skip
        m, n = (shape >> 24 & 31) * 16, (shape >> 17 & 63) * 8
        if (shape >> 4 & 3) != 1 or m not in (64, ROWS) or shape >> 13 & 3 or d >> 16:
            raise UnsupportedError(f"instruction descriptor {shape:#x}")
        formats = [(kind, shape >> bit & 7) for bit in (7, 10)]
        if not set(formats) <= set(TYPES):
            raise UnsupportedError(f"instruction descriptor {shape:#x}")
        (dec_a, size), (dec_b, _) = (operand_decoder(TYPES[f]) for f in formats)
        depth = 32 // size
        tiles = [
            tcgen05_tile(descriptor, height, depth, size, shape >> bit & 1) - shared.base
            for descriptor, height, bit in ((a, m, 15), (b, n, 16))
        ]
        for tile in tiles:
            if tile.min() < 0 or tile.max() + size > k.shared_bytes:
                text = f"operand at shared bytes {tile.min()} to {tile.max()}"
                g.launch.report("bounds", g, ins, int(rows[0]), 0, text)
        if (d + n > state.columns[cta]).any():
            text = "an accumulator beyond the columns of tensor memory that are allocated"
            g.launch.report("bounds", g, ins, int(rows[0]), 0, text)
        place = accumulator_rows(m)[:, None] * COLUMNS + d + np.arange(n)  # [m, n]
        place = place + (cta * (state.memory.stride // 4))[:, None, None]
        if g.launch.track:
            _note(g, ins, state, tiles, cta, place, enable)
        at_shared = (cta * shared.stride)[:, None, None]

        def execute() -> None:
            view = shared.rows(size)[:, 0]
            left, right = (
                dec(view[(tile + at_shared) // size])
                for dec, tile in zip((dec_a, dec_b), tiles, strict=True)
            )
            product = left @ right.swapaxes(1, 2)
            acc = state.memory.rows(4)[:, 0].view(np.float32)
            acc[place] = product + acc[place] if enable else product

        state.open.append((cta, execute))
        g.launch.counters.macs += m * n * depth * len(cta)

    return issue


def _note(
    g: Group, ins: Instruction, state: Tensor, tiles: list[Array], cta: Array, place: Array,
    accumulate: int,
) -> None:  # fmt: skip
    """Race checks: what the tensor cores of `cta` read of shared memory, and their accumulators."""
    shared = g.batch.shared
    for tile in tiles:
        granules = np.unique(tile >> shared.shift)
        of = np.repeat(cta, len(granules))
        at = granules + (cta * (shared.stride >> shared.shift))[:, None]
        shared.read(state.cores, ins, at.reshape(-1, 1), of, np.zeros_like(of), proxy=True)
    flat = place.reshape(-1, place.shape[-1])
    of = np.repeat(cta, place.shape[1])
    if accumulate:
        state.memory.read(state.cores, ins, flat, of, np.zeros_like(of))
    state.memory.write(state.cores, ins, flat, of, np.zeros_like(of))
