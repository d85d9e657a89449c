"""tcgen05.cp copies from shared into tensor memory, as scales of a product get there (sm_100)."""

from __future__ import annotations

import re

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run
from ..parse import Instruction
from ..types import LANES, Array
from .descriptors import tcgen05_tile
from .mbarrier import shared_value
from .tensor_memory import tensor
from .tensor_products import LINE, Source, note

CP_SHAPE = re.compile(r"32x128b|128x256b|128x128b|4x256b|64x128b")


def copy(k: Kernel, ins: Instruction) -> Run:
    """Build a copy of 32 rows of 128 bits from shared to tensor memory, into all four quarters."""
    shape = next(m for m in ins.modifiers if CP_SHAPE.fullmatch(m))
    if shape != "32x128b" or "warpx4" not in ins.modifiers or len(ins.types) > 0:
        raise UnsupportedError(f"instruction {ins.text}")
    at, source = k.address(ins.operands[0], "shared"), k.src(ins.operands[1], "u64")
    pair = 2 if "cta_group::2" in ins.modifiers else 1
    k.widths["shared"].add(16)

    def issue(g: Group, lanes: Array) -> None:
        rows, cta = g.lane_row[lanes], g.lane_cta[lanes]
        state, shared = tensor(g.batch), g.batch.shared
        state.cores.join(g.clock[rows], g.proxy[rows], cta)
        to = shared_value(g, ins, at(g, lanes))
        descriptor = shared_value(g, ins, g.value(source).reshape(-1)[lanes])
        where = tcgen05_tile(descriptor, LANES, 16, 1, 0) - shared.base
        read = Source(shared, where, 1, lambda x: x)
        place = np.arange(LANES)[:, None] * LINE + (to & 0xFFFF) * 4 + np.arange(16)
        quarters = np.concatenate([place + q * LANES * LINE for q in range(4)])
        written = Source(state.memory, quarters, 1, lambda x: x)
        members = [cta // pair * pair + i for i in range(pair)]
        if g.launch.track:
            for member in members:
                note(ins, state.cores, [read], written, cta, member, 0)

        def execute(cta: Array) -> None:
            for i in range(pair):
                move(cta // pair * pair + i)

        def move(cta: Array) -> None:
            values = np.tile(read.values(cta), (1, 4, 1))
            target = quarters + (cta * state.memory.stride)[:, None, None]
            state.memory.data[target] = values

        state.open.append((cta, execute))

    return k.on_lanes(ins, issue)
