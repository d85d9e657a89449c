"""tensormap.replace edits a tensor map field by field, and copies of it pass fences (sm_90 on)."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..tensormaps import BYTES, FIELDS, SIZES
from ..types import LANES, Array
from .access import memory_of, space_of

WORD = 8  # bytes; what tensor maps are copied in


@op("memory", "tensormap")
def _tensormap(k: Kernel, ins: Instruction) -> Run:
    if ins.modifiers[0] == "cp_fenceproxy":
        return _copy(k, ins)
    name = ins.modifiers[2]
    if ins.modifiers[:2] != ["replace", "tile"] or name not in (FIELDS.names or ()):
        raise UnsupportedError(f"instruction {ins.text}")
    return _replace(k, ins, name)


def _replace(k: Kernel, ins: Instruction, name: str) -> Run:
    space, (where, *more) = space_of(ins) or "global", ins.operands
    if space not in ("global", "shared"):
        raise UnsupportedError(f"instruction {ins.text}")
    assert FIELDS.fields is not None
    dtype, start = FIELDS.fields[name][:2]
    element = dtype.base
    index = int(more.pop(0), 0) if dtype.shape else 0
    start += index * element.itemsize
    value, at = k.src(more[0], ins.types[-1]), k.address(where, space)
    if name == "elemtype":  # what granules of global memory must tell apart
        k.widths["global"].add(SIZES.get(int(more[0], 0), 1))
    k.widths[space].add(4)

    def replace(g: Group, lanes: Array) -> None:
        memory = memory_of(g, space)
        off, lanes = memory.locate(g, ins, at(g, lanes), BYTES, lanes)
        values = g.value(value).reshape(-1)[lanes].astype(element)
        for place, x in zip(off.tolist(), values, strict=True):
            memory.data[place + start : place + start + element.itemsize] = np.frombuffer(
                x.tobytes(), np.uint8
            )
        granules = memory.granules(off + start // 4 * 4, max(4, element.itemsize))
        memory.write(g, ins, granules, g.lane_row[lanes], lanes % LANES)

    return k.on_lanes(ins, replace)


def _copy(k: Kernel, ins: Instruction) -> Run:
    """Copy a tensor map from shared to global memory, released to the tensor map's readers."""
    to, source = k.address(ins.operands[0], "global"), k.address(ins.operands[1], "shared")
    for space in ("global", "shared"):
        k.widths[space].add(4)

    def copy(g: Group, lanes: Array) -> None:
        lanes, memory, shared = lanes[::LANES], g.launch.memory, g.batch.shared
        at, from_lanes = shared.locate(g, ins, source(g, lanes), BYTES, lanes)
        place, to_lanes = memory.locate(g, ins, to(g, lanes), BYTES, lanes)
        if len(at) != len(place):
            return
        rows = g.lane_row[lanes]
        shared.read(g, ins, shared.granules(at, BYTES), rows, from_lanes % LANES)
        memory.write(g, ins, memory.granules(place, BYTES), rows, to_lanes % LANES)
        words = BYTES // WORD
        memory.rows(WORD, words)[place // BYTES] = shared.rows(WORD, words)[at // BYTES]

    return k.on_lanes(ins, copy)
