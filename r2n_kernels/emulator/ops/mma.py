"""mma.sync is a warp's tensor-core product of fragments in registers (sm_80 on)."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction, vector
from ..types import TF32_MASK, Array, decode
from .fragments import a_fragment, acc_to_matrix, b_fragment, matrix_to_acc
from .integers import saturated
from .mma_scaled import scaled_mma


def operand_decoder(t: str) -> tuple[Callable[[Array], Array], int]:
    """Return (function from raw bits to float32 or int32, bytes per element) for operand type t."""
    if t == "tf32":
        return (lambda a: (a.view(np.uint32) & TF32_MASK).view(np.float32)), 4
    if t == "f16":
        return (lambda a: a.view(np.float16).astype(np.float32)), 2
    if t == "bf16":
        return decode("bf16"), 2
    if t in ("s8", "u8"):
        dtype = np.int8 if t == "s8" else np.uint8
        return (lambda a: a.view(dtype).astype(np.int32)), 1
    if t in ("e4m3", "e5m2"):
        read = decode(t)
        return (lambda a: read(a.view(np.uint8))), 1
    raise UnsupportedError(f"matrices of {t}")


@op("warp", "mma")
def _mma(k: Kernel, ins: Instruction) -> Run:
    if "block_scale" in ins.modifiers:
        return scaled_mma(k, ins)
    types = ins.types
    if types == ["f64"] * 4:
        return _mma_f64(k, ins)
    shape = re.search(r"\.m16n8k(\d+)\.", ins.opcode)
    plain = len(types) == 4 and types[0] == types[3] and types[1:3].count("tf32") != 1
    if shape is None or not plain or types[0] not in ("f32", "f16", "s32"):
        raise UnsupportedError(f"instruction {ins.text}")
    ins.allow("sync", "aligned", "row", "col", "satfinite", "kind::f8f6f4", shape[0].strip("."))
    add = saturated(np.add) if "satfinite" in ins.modifiers else np.add
    acc_t, a_t, b_t, _ = types
    (dec_a, size), (dec_b, _) = operand_decoder(a_t), operand_decoder(b_t)
    packed, dtype = acc_t == "f16", np.int32 if acc_t == "s32" else np.float32
    d = [k.dst(ins, x) for x in vector(ins.operands[0])]
    a, b, c = [[k.src(x, "b32") for x in vector(o)] for o in ins.operands[1:4]]
    macs, per = 16 * 8 * int(shape[1]), 4 // size

    def run(g: Group) -> None:
        left, right = a_fragment(g.values(a), dec_a, per), b_fragment(g.values(b), dec_b, per)
        product = left @ right  # [warps, 16, 8]
        if packed:
            acc = acc_to_matrix(g.values(c), packed)
            out = matrix_to_acc(product + acc, packed)
        else:
            product, acc = matrix_to_acc(product, packed).view(dtype), g.values(c).view(dtype)
            out = add(product, acc).view(np.uint32)
        for i, slot in enumerate(d):
            g.regs[slot] = out[i]
        g.launch.work(g).macs += macs * len(g)

    return run


def _mma_f64(k: Kernel, ins: Instruction) -> Run:
    """Build products of float64: m8n8k4 (sm_80 on), m16n8k4, k8 and k16 (sm_90 on)."""
    shape = re.search(r"\.m(8|16)n8k(\d+)\.", ins.opcode)
    if shape is None:
        raise UnsupportedError(f"instruction {ins.text}")
    ins.allow("sync", "aligned", "row", "col", shape[0].strip("."))
    halves, steps = int(shape[1]) // 8, int(shape[2]) // 4  # of rows, and of four columns of A
    d = [k.dst(ins, x) for x in vector(ins.operands[0])]
    a, b, c = [[k.src(x, "f64") for x in vector(o)] for o in ins.operands[1:4]]
    if (len(a), len(b), len(c), len(d)) != (halves * steps, steps, 2 * halves, 2 * halves):
        raise UnsupportedError(f"instruction {ins.text}")
    macs = 64 * halves * 4 * steps

    def numbers(g: Group, slots: list[int]) -> Array:  # [register, warp, group, thread]
        values = np.stack([g.value(s) for s in slots]).view(np.float64)
        return values.reshape(len(slots), len(g), 8, 4)

    def run(g: Group) -> None:
        warps = len(g)
        left = numbers(g, a).reshape(steps, halves, warps, 8, 4).transpose(2, 1, 3, 0, 4)
        right = numbers(g, b).transpose(1, 0, 3, 2).reshape(warps, 4 * steps, 8)
        product = left.reshape(warps, 8 * halves, 4 * steps) @ right  # [warps, rows, 8]
        product = product.reshape(warps, halves, 8, 4, 2).transpose(1, 4, 0, 2, 3)
        acc = numbers(g, c).reshape(halves, 2, warps, 8, 4)
        out = np.ascontiguousarray(product + acc).view(np.uint64).reshape(2 * halves, warps, 32)
        for i, slot in enumerate(d):
            g.regs[slot] = out[i]
        g.launch.work(g).macs += macs * warps

    return run
