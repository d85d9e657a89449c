"""This file builds loads and stores of lanes, and moves of 8x8 matrices by a warp."""

from __future__ import annotations

import re

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..memory import Memory
from ..parse import Instruction, vector
from ..types import LANES, SINT, UINT, Array, type_bits

SPACES = ("global", "shared", "param", "const")
ROWS = 8  # of a matrix


def space_of(ins: Instruction) -> str | None:
    names = (m.split("::")[0] for m in ins.modifiers)
    return next((name for name in names if name in SPACES), None)


def memory_of(g: Group, space: str) -> Memory:
    return g.batch.shared if space == "shared" else g.launch.memory


@op("memory", "ld")
def _load(k: Kernel, ins: Instruction) -> Run:
    space, t = space_of(ins), ins.types[-1]
    elem = type_bits(t) // 8
    if space == "param":
        match = re.fullmatch(r"\[\s*(\w+)\s*\]", ins.operands[1])
        if not match:
            raise UnsupportedError(f"instruction {ins.text}")
        d, s, raw = k.dst(ins, ins.operands[0]), k.param_slots[match[1]], UINT[type_bits(t)]
        wide = (SINT if t[0] == "s" else UINT)[k.program.widths[ins.operands[0]]]

        def parameter(g: Group) -> None:
            value: Array = g.regs[s].astype(raw, copy=False)
            if t[0] == "s":
                value = value.view(SINT[8 * elem])
            g.regs[d] = value.astype(wide, copy=False).view(UINT[8 * np.dtype(wide).itemsize])

        return parameter
    if space is None:
        raise UnsupportedError(f"instruction {ins.text}")
    names = vector(ins.operands[0])
    dsts, n = [k.dst_or_sink(ins, x) for x in names], len(names)
    raws = [UINT[k.bits(x) or 32] for x in names]
    address, select = k.address(ins.operands[1], space), k.lanes(ins)
    k.widths["shared" if space == "shared" else "global"].add(elem * n)
    signed = t[0] == "s"

    def run(g: Group) -> None:
        memory, lanes = memory_of(g, space), select(g)
        if not len(lanes):
            return
        off, lanes = memory.locate(g, ins, address(g, lanes), elem * n, lanes)
        values = memory.load(g, ins, off, elem, n, lanes, "ld")
        if signed:
            values = values.view(SINT[8 * elem])
        for i, d in enumerate(dsts):
            if d is not None:
                g.merge(d, values[:, i].astype(raws[i]), lanes)

    return run


@op("memory", "st")
def _store(k: Kernel, ins: Instruction) -> Run:
    space, t = space_of(ins), ins.types[-1]
    if space not in ("global", "shared"):
        raise UnsupportedError(f"instruction {ins.text}")
    names, raw = vector(ins.operands[1]), UINT[type_bits(t)]
    srcs, elem = [k.src(x, t) for x in names], type_bits(t) // 8
    ins.stored = srcs
    address, select, n = k.address(ins.operands[0], space), k.lanes(ins), len(names)
    k.widths[space].add(elem * n)

    def run(g: Group) -> None:
        memory, lanes = memory_of(g, space), select(g)
        if not len(lanes):
            return
        off, lanes = memory.locate(g, ins, address(g, lanes), elem * n, lanes)
        values: Array = np.empty((len(lanes), n), raw)
        for i, s in enumerate(srcs):
            value = g.value(s).reshape(-1)
            values[:, i] = value if lanes is g.all else value[lanes]
        memory.store(g, ins, off, values, lanes, "st")

    return run


@op("warp", "ldmatrix", "stmatrix")
def _matrix_move(k: Kernel, ins: Instruction) -> Run:
    """Move 8x8 matrices of 16-bit elements; lanes 8i to 8i + 7 give matrix i's row addresses."""
    load, transposed = ins.base == "ldmatrix", "trans" in ins.modifiers
    if "m8n8" not in ins.modifiers or "b16" not in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    where, regs = ins.operands[::-1] if load else ins.operands
    names = vector(regs)
    slots = [k.dst(ins, x) if load else k.src(x, "b32") for x in names]
    ins.stored = [] if load else slots
    address, n = k.address(where, "shared"), len(names)
    active = np.arange(LANES) < ROWS * n
    k.widths["shared"].add(2 * ROWS)

    def run(g: Group) -> None:
        memory, warps = g.batch.shared, len(g)
        lanes = g.all if n == 4 else np.flatnonzero(np.tile(active, warps))
        off, fine = memory.locate(g, ins, address(g, lanes), 2 * ROWS, lanes)
        if len(fine) < len(lanes):
            return
        if load:
            tiles = memory.load(g, ins, off, 2, ROWS, lanes, "ldmatrix")
            tiles = tiles.reshape(warps, n, ROWS, ROWS)
            if transposed:
                tiles = np.ascontiguousarray(tiles.swapaxes(2, 3))
            words = tiles.view(np.uint32).reshape(warps, n, LANES)
            for i, d in enumerate(slots):
                g.regs[d] = np.ascontiguousarray(words[:, i])
        else:
            words = np.ascontiguousarray(g.values(slots).swapaxes(0, 1))  # [warps, n, 32]
            tiles = words.view(np.uint16).reshape(warps, n, ROWS, ROWS)
            if transposed:
                tiles = np.ascontiguousarray(tiles.swapaxes(2, 3))
            lines = tiles.reshape(-1, ROWS)
            if not transposed:  # lines of registers
                lines = words.reshape(len(lines), -1)
            memory.store(g, ins, off, lines, lanes, "stmatrix")

    return run
