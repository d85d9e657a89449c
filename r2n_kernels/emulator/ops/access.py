"""This file builds loads and stores of lanes, and moves of 8x8 matrices by a warp."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..local import LOCAL_BASE, LocalMemory
from ..memory import GLOBAL_BASE, Memory
from ..parse import Instruction, base_of, vector
from ..types import LANES, SINT, UINT, Array, type_bits
from .async_stores import async_store

SPACES = ("global", "shared", "param", "const", "local")
ROWS = 8  # of a matrix


def space_of(ins: Instruction) -> str | None:
    names = (m.split("::")[0] for m in ins.modifiers)
    return next((name for name in names if name in SPACES), None)


def memory_of(g: Group, space: str) -> Memory:
    return g.batch.shared if space == "shared" else g.launch.memory


def _any_memory(g: Group, space: str) -> Memory | LocalMemory:
    return g.batch.local if space == "local" else memory_of(g, space)


def memories(g: Group, address: Array) -> Iterator[tuple[Memory | LocalMemory, Array | slice]]:
    """Yield the memories that generic addresses are in, and whose they are."""
    kinds = np.searchsorted((LOCAL_BASE, GLOBAL_BASE), address, "right")
    for kind in np.unique(kinds):
        yield _any_memory(g, ("shared", "local", "global")[kind]), kinds == kind


def _through(
    k: Kernel, ins: Instruction, space: str | None, address: Callable[[Group, Array], Array],
    access: Callable[[Group, Memory | LocalMemory, Array, Array], None],
) -> Run:  # fmt: skip
    """Return a run in which `access` gets each memory with its lanes. space: None if generic."""

    def run(g: Group, lanes: Array) -> None:
        if space is not None:
            access(g, _any_memory(g, space), address(g, lanes), lanes)
            return
        at = address(g, lanes)
        for memory, some in memories(g, at):
            access(g, memory, at[some], lanes[some])

    return k.on_lanes(ins, run)


def _note_width(k: Kernel, space: str | None, width: int) -> None:
    """Note a width that races are looked for by; a generic address may be anywhere."""
    for name in ("shared",) if space == "shared" else ("shared", "global") if space is None else ():
        k.widths[name].add(width)
    if space in ("global", "const"):
        k.widths["global"].add(width)


def _is_local(k: Kernel, address: str) -> bool:
    """Return whether an address is of a variable that a call passes, not of the kernel's own."""
    return base_of(address) in k.program.local


@op("memory", "ld")
def _load(k: Kernel, ins: Instruction) -> Run:
    space, t = space_of(ins), ins.types[-1]
    elem = type_bits(t) // 8
    if space == "param" and _is_local(k, ins.operands[1]):
        space = "local"
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
    names = vector(ins.operands[0])
    dsts, n = [k.dst_or_sink(ins, x) for x in names], len(names)
    raws = [UINT[k.bits(x) or 32] for x in names]
    address = k.address(ins.operands[1], space or "global")
    _note_width(k, space, elem * n)
    signed = t[0] == "s"

    def load(g: Group, memory: Memory | LocalMemory, at: Array, lanes: Array) -> None:
        off, lanes = memory.locate(g, ins, at, elem * n, lanes)
        values = memory.load(g, ins, off, elem, n, lanes, "ld")
        if signed:
            values = values.view(SINT[8 * elem])
        for i, d in enumerate(dsts):
            if d is not None:
                g.merge(d, values[:, i].astype(raws[i]), lanes)

    return _through(k, ins, space, address, load)


@op("memory", "st")
def _store(k: Kernel, ins: Instruction) -> Run:
    if "async" in ins.modifiers:
        return async_store(k, ins)
    space, t = space_of(ins), ins.types[-1]
    if space == "param" and _is_local(k, ins.operands[0]):
        space = "local"
    if space in ("param", "const"):
        raise UnsupportedError(f"instruction {ins.text}")
    names, raw = vector(ins.operands[1]), UINT[type_bits(t)]
    srcs, elem = [k.src(x, t) for x in names], type_bits(t) // 8
    ins.stored = srcs
    address, n = k.address(ins.operands[0], space or "global"), len(names)
    _note_width(k, space, elem * n)

    def store(g: Group, memory: Memory | LocalMemory, at: Array, lanes: Array) -> None:
        off, lanes = memory.locate(g, ins, at, elem * n, lanes)
        values: Array = np.empty((len(lanes), n), raw)
        for i, s in enumerate(srcs):
            value = g.value(s).reshape(-1)
            values[:, i] = value if lanes is g.all else value[lanes]
        memory.store(g, ins, off, values, lanes, "st")

    return _through(k, ins, space, address, store)


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
