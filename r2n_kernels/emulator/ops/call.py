"""This file builds calls of what the driver has: printf, and failed assertions."""

from __future__ import annotations

import re
import sys

import numpy as np

from ..errors import EmulationError, UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction, split_operands
from ..types import LANES, UINT, Array
from .access import memories

PARAMETERS = {"vprintf": ("u64", "u64"), "__assertfail": ("u64", "u64", "u32", "u64", "u64")}
CONVERSION = re.compile(r"%([-+ #0]*\d*(?:\.\d+)?)(?:hh|h|ll|l|z|j|t)?([diouxXcfFeEgGaAps%])")
LONG = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?(?:ll|l|z|j|t)[diouxX]")
LONGEST = 4096  # bytes of a text


@op("memory", "call")
def _call(k: Kernel, ins: Instruction) -> Run:
    name = next((o for o in ins.operands if o in PARAMETERS), None)
    if name is None:
        raise UnsupportedError(f"instruction {ins.text}: a call of what is not inlined")
    types = PARAMETERS[name]
    params = split_operands(ins.operands[-1].strip("()"))
    if len(params) != len(types):
        raise UnsupportedError(f"instruction {ins.text}: {name} takes {len(types)} parameters")
    address = [k.address(f"[{p}]", "local") for p in params]

    def run(g: Group, lanes: Array) -> None:
        values = [
            _read(g, ins, at(g, lanes), int(t[1:]) // 8, lanes)
            for at, t in zip(address, types, strict=True)
        ]
        if name == "vprintf":
            for i, lane in enumerate(lanes):
                _print(g, ins, int(values[0][i]), int(values[1][i]), lane)
        else:
            _fail(g, ins, [int(value[0]) for value in values], int(lanes[0]))

    return k.on_lanes(ins, run)


def _read(g: Group, ins: Instruction, address: Array, width: int, lanes: Array) -> Array:
    """Read a number of each lane, wherever its address is."""
    out: Array = np.zeros(len(lanes), UINT[8 * width])
    for memory, some in memories(g, address):
        off, fine = memory.locate(g, ins, address[some], width, lanes[some])
        if len(fine) == len(lanes[some]):
            out[some] = memory.load(g, ins, off, width, 1, fine, "ld")[:, 0]
    return out


def _text(g: Group, address: int) -> str:
    """Return the text in global memory at an address."""
    memory = g.launch.memory
    at = address - memory.base
    raw = memory.data[at : at + LONGEST].tobytes()
    return raw.partition(b"\0")[0].decode(errors="replace")


def _print(g: Group, ins: Instruction, text: int, arguments: int, lane: int) -> None:
    """Print as C does: numbers lie behind each other, each at a multiple of its size."""
    at, lanes = arguments, np.array([lane])

    def shown(match: re.Match[str]) -> str:
        nonlocal at
        flags, kind = match.groups()
        if kind == "%":
            return "%"
        size = 8 if kind in "fFeEgGaAps" or LONG.match(match[0]) else 4
        at = -(-at // size) * size
        bits = _read(g, ins, np.array([at]), size, lanes)
        at += size
        if kind in "fFeEgGaA":
            number = float(bits.view(np.float64)[0])
            return number.hex() if kind in "aA" else f"%{flags}{kind}" % number
        if kind == "s":
            return f"%{flags}s" % _text(g, int(bits[0]))
        if kind == "p":
            return f"{int(bits[0]):#x}"
        number = int(bits.view(np.int64 if size == 8 else np.int32)[0] if kind in "di" else bits[0])
        return f"%{flags}{'d' if kind in 'iu' else kind}" % number

    sys.stdout.write(CONVERSION.sub(shown, _text(g, text)))


def _fail(g: Group, ins: Instruction, values: list[int], lane: int) -> None:
    message, file, line, function, _ = values
    row = lane // LANES
    cta, warp = g.launch.place(int(g.batch.places[g.cta[row]])), int(g.warp[row])
    name = _text(g, file).rpartition("/")[2]
    raise EmulationError(
        f"[assert] {ins.source}: device_assert failed: {_text(g, message)} | {name}:{line} in "
        f"{_text(g, function)} | CTA {cta}, warp {warp}, lane {lane % LANES}"
    )
