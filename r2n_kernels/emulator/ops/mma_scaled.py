"""mma.sync with block scales multiplies fragments whose blocks along K have factors (sm_120).

Thread 4 * group + i of a warp gives the factors of a row or column of A or B, as PTX's "Block
Scaling for mma.sync" draws them; selectors say which threads of each four, and which bytes, count.
"""

from __future__ import annotations

import re

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run
from ..parse import Instruction, vector
from ..small_floats import CODECS
from ..types import Array, split_nibbles
from .fragments import a_fragment, acc_to_matrix, b_fragment, matrix_to_acc

SCALE_TYPES = {"ue8m0": "ue8m0", "ue4m3": "e4m3"}


def scaled_mma(k: Kernel, ins: Instruction) -> Run:
    modifiers, operands = ins.modifiers, ins.operands
    shape = re.search(r"m16n8k(32|64)\.row\.col", ins.opcode)
    blocks = next((int(m[11]) for m in modifiers if m.startswith("scale_vec::")), 0)
    types = [m for m in modifiers if m in ("e4m3", "e5m2", "e2m1")]
    scale_type = next((SCALE_TYPES[m] for m in modifiers if m in SCALE_TYPES), None)
    packed = types == ["e2m1", "e2m1"] and "kind::mxf8f6f4" not in modifiers
    plain = shape is not None and (packed or "e2m1" not in types) and "sp" not in modifiers
    if not plain or not blocks or len(types) != 2 or scale_type is None or len(operands) != 8:
        raise UnsupportedError(f"instruction {ins.text}")
    assert shape is not None  # it is plain
    depth, per = int(shape[1]), 8 if packed else 4
    d = [k.dst(ins, x) for x in vector(operands[0])]
    a, b, c = [[k.src(x, "b32") for x in vector(o)] for o in operands[1:4]]
    factors = [k.src(operands[4], "b32"), k.src(operands[6], "b32")]
    selectors = [[k.src(x, "u16") for x in vector(operands[i])] for i in (5, 7)]
    read_scale = CODECS[scale_type][1]

    def reader(t: str):
        read = CODECS[t][1]
        if packed:
            return lambda regs: read(split_nibbles(regs.view(np.uint8)))
        return lambda regs: read(regs.view(np.uint8))

    read_a, read_b = reader(types[0]), reader(types[1])

    def scales(g: Group, which: int) -> Array:
        """Return the factors [warps, rows, blocks] of A's 16 rows or B's 8 columns."""
        byte, thread = (int(g.value(s)[0, 0]) for s in selectors[which])
        raw = np.ascontiguousarray(g.value(factors[which])).view(np.uint8)
        raw = raw.reshape(len(g), 8, 4, 4)[..., byte : byte + blocks]  # [warps, group, thread, ...]
        if which == 0:
            raw = np.concatenate([raw[:, :, 2 * thread], raw[:, :, 2 * thread + 1]], axis=1)
        else:
            raw = raw[:, :, thread]
        return np.repeat(read_scale(raw).astype(np.float64), depth // blocks, axis=2)

    def run(g: Group) -> None:
        left = a_fragment(g.values(a), read_a, per) * scales(g, 0)
        right = b_fragment(g.values(b), read_b, per) * scales(g, 1).swapaxes(1, 2)
        acc = acc_to_matrix(g.values(c), packed=False).view(np.float32)
        out = matrix_to_acc((left @ right + acc).astype(np.float32), packed=False)
        for i, slot in enumerate(d):
            g.regs[slot] = out[i]
        g.launch.work(g).macs += 16 * 8 * depth * len(g)

    return run
