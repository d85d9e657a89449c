"""Tensor memory (sm_100) is allocated in columns, moved to and from registers by warps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ..batch import Batch
from ..clocks import Agents
from ..errors import EmulationError, UnsupportedError
from ..group import RACE, Group
from ..kernel import Kernel, Run
from ..memory import Memory, Region
from ..parse import Instruction, vector
from ..types import LANES, Array, join_bits, split_bits

ROWS, COLUMNS = 128, 512  # of tensor memory, 4 bytes each


@dataclass
class Tensor:
    """A Tensor is a batch's tensor memory and tensor cores: one row of `cores` per CTA."""

    memory: Memory
    cores: Agents
    columns: Array  # allocated, by CTA
    open: list = field(default_factory=list)  # (CTAs, product of some of them) not yet committed


def tensor(batch: Batch) -> Tensor:
    if "tensor" not in batch.state:
        ctas, size = len(batch.places), ROWS * COLUMNS * 4
        memory = Memory(
            batch.launch, "tensor memory", 0, size, 4, [Region(0, size, "tensor memory")],
            copies=ctas,
        )  # fmt: skip
        memory.data[:] = 0xFF
        core = batch.agents(batch.launch.kernel.num_warps)  # the agent behind the warps
        batch.state["tensor"] = Tensor(memory, core, np.zeros(ctas, np.int64))
    return batch.state["tensor"]


def alloc(k: Kernel, ins: Instruction) -> Run:
    at, columns = k.address(ins.operands[0], "shared"), k.src(ins.operands[1], "u32")
    k.widths["shared"].add(4)

    def run(g: Group, lanes: Array) -> None:
        lanes = lanes[::LANES]  # one lane of each warp that allocates
        state, cta = tensor(g.batch), g.lane_cta[lanes]
        base, n = state.columns[cta], int(g.value(columns)[0, 0])
        if (base + n > COLUMNS).any():
            raise EmulationError(f"{ins.source}: tensor memory is exhausted")
        state.columns[cta] += n
        off, lanes = g.batch.shared.locate(g, ins, at(g, lanes), 4, lanes)
        values = base.astype(np.uint32)[:, None]
        g.batch.shared.store(g, ins, off, values, lanes, "tcgen05.alloc")

    return k.on_lanes(ins, run)


def _fragment(shape: str, registers: int, half: int, halves: bool) -> tuple[Array, Array]:
    """Return the rows and columns of tensor memory, [32, words], that lanes' registers stand for.

    PTX ISA: "Matrix fragments for tcgen05". half: columns between the parts of .16x32bx2; halves:
    a register is two words.
    """
    lane = np.arange(LANES)[:, None]
    j = np.arange(registers * (2 if halves else 1))[None, :]
    if shape == "32x32b":  # lane t has row t
        return lane + 0 * j, j + 0 * lane
    if shape == "16x32bx2":
        return lane % 16 + 0 * j, j + lane // 16 * half
    group, thread = lane // 4, lane % 4
    if shape == "16x64b":
        return group + 8 * (thread % 2) + 0 * j, 2 * j + thread // 2
    if shape == "16x128b":
        return group + 8 * (j % 2), 4 * (j // 2) + thread
    return group + 8 * (j // 2 % 2), 8 * (j // 4) + 2 * thread + j % 2  # 16x256b


def move(k: Kernel, ins: Instruction, what: str) -> Run:
    """Move registers of a warp to or from the 32 lanes of tensor memory that are the warp's."""
    shape = next(m for m in ins.modifiers if re.fullmatch(r"\d+x\d+b(x2)?", m))
    load, halves = what == "ld", f"{'un' if what == 'st' else ''}pack::16b" in ins.modifiers
    plain = shape in ("32x32b", "16x32bx2")
    if not (plain or (shape in ("16x64b", "16x128b", "16x256b") and not halves)) or (
        "red" in ins.modifiers
    ):
        raise UnsupportedError(f"instruction {ins.text[:80]}")
    where, regs = ins.operands[load], ins.operands[0 if load else -1]
    half = int(ins.operands[2 if load else 1], 0) if shape == "16x32bx2" else 0
    names = vector(regs)
    slots = [k.dst(ins, x) if load else k.src(x, "b32") for x in names]
    at, key = k.address(where, "shared"), tuple(slots)
    row_of, column_of = _fragment(shape, len(slots), half, halves)
    width = row_of.shape[1]

    def finish(g: Group) -> None:
        for slot, value in zip(slots, np.moveaxis(g.acc.pop(key), 2, 0), strict=True):
            g.regs[slot] = np.ascontiguousarray(value)

    def run(g: Group, lanes: Array) -> Array | None:
        if lanes is not g.all:
            return _whole_warps(g, ins, lanes)
        state, address = tensor(g.batch), at(g, g.all).reshape(g.shape)[:, 0]
        row, column = address >> 16, address & 0xFFFF
        if (row // LANES != g.warp % 4).any():
            raise EmulationError(f"{ins.source}: a warp accesses lanes of tensor memory of another")
        columns = column[:, None, None] + column_of
        beyond = columns.max((1, 2)) >= state.columns[g.cta]
        if beyond.any():
            first = int(np.flatnonzero(beyond)[0])
            text = f"column {columns[first].max()} of tensor memory is not allocated"
            g.launch.report("bounds", g, ins, first, 0, text)
        granules = (row[:, None, None] + row_of) * COLUMNS + columns
        granules = (
            granules + (g.cta * (state.memory.stride // 4))[:, None, None]
        )  # [warps, 32, width]
        flat = granules.reshape(-1, width)
        view = state.memory.rows(4)[:, 0]
        shadow = state.memory.shadow
        stamp = shadow.new_stamp() if shadow else 0
        if load:
            state.memory.read(g, ins, flat, g.lane_row, g.all % LANES, pending=stamp)
            words = view[granules]
            if halves:
                words = join_bits(
                    words.astype(np.uint16).reshape(*words.shape[:2], -1, 2), np.uint32
                )
            g.acc[key], g.inflight[key] = words, (finish, RACE)
        else:
            state.memory.write(g, ins, flat, g.lane_row, g.all % LANES, pending=True)
            words = np.moveaxis(g.values(slots), 0, 2)
            if halves:
                words = split_bits(words, np.uint16).reshape(granules.shape)
            view[granules] = words
        g.moves.setdefault(what, []).append((flat, g.lane_row, key, stamp))
        return None

    return k.on_lanes(ins, run)


def _whole_warps(g: Group, ins: Instruction, lanes: Array) -> Array:
    """Return which warps a predicate selects, [warps], for a group to be split by."""
    counts = np.bincount(g.lane_row[lanes], minlength=len(g))
    if not np.isin(counts, (0, LANES)).all():
        raise EmulationError(f"{ins.source}: a warp diverges in {ins.text[:80]}")
    return counts == LANES


def wait(kind: str, g: Group) -> None:
    shadow = tensor(g.batch).memory.shadow
    for at, rows, key, stamp in g.moves.pop(kind, []):
        if kind == "ld":
            if key in g.inflight:
                g.finish(key)
            if shadow is not None:
                shadow.retire_reads(g, at, rows, stamp)
        elif shadow is not None:
            shadow.retire_writes(g, at, rows)
