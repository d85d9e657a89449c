"""wgmma makes asynchronous products of a warpgroup, operands in shared memory (sm_90).

A warp owns 16 of the 64 rows. Until a wait_group, accumulators are held apart from the registers.
"""

from __future__ import annotations

import copy as copying
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..batch import RANDOM
from ..errors import UnsupportedError
from ..group import SERIALIZED, Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction, vector
from ..together import uniform_value
from ..types import Array
from .descriptors import wgmma_tile
from .fragments import a_fragment, acc_to_matrix, matrix_to_acc
from .mma import operand_decoder

WARP_ROWS = 16
POISON = np.full((1, 1), 0xFFFFFFFF, np.uint32)


@dataclass(frozen=True)
class Form:
    """A Form is what an instruction's text says."""

    n: int
    depth: int
    decode: tuple[Callable[[Array], Array], Callable[[Array], Array]]  # A's and B's elements
    size: int  # bytes of an operand's element
    packed: bool  # accumulators are float16, two per register
    sign: int
    key: tuple[int, ...]  # slots of the accumulators


class AsyncMma:
    """An AsyncMma is one wgmma.mma_async of a group, in flight until a wait_group."""

    def __init__(self, form: Form, scale_d: Array) -> None:
        self.form, self.scale_d, self.done = form, scale_d, False
        self.a: Array | None = None  # [warps, 16, K] of registers
        self.a_at: Array | None = None  # [warps, 16, K] bytes in shared memory
        self.b_at: Array | None = None  # [warps, N, K]
        self.granules: list[tuple[Array, Array, int]] = []  # read: ([n, 1], row of each, stamp)

    def execute(self, g: Group) -> None:
        """Read the operands and accumulate."""
        if self.done:
            return
        form, acc = self.form, g.acc[self.form.key]
        view = g.batch.shared.rows(form.size)[:, 0]
        assert self.b_at is not None
        a = self.a
        if a is None:
            assert self.a_at is not None  # one of them holds the operand
            a = form.decode[0](view[self.a_at // form.size])
        out = np.empty(acc.shape, acc.dtype)
        for rows, at in _shared_operands(g, self.b_at):
            b = form.decode[1](view[at // form.size])  # [N, K]
            out[rows] = a[rows] @ b.T  # by warps: some BLAS sum in another order for more rows
        if form.sign < 0:
            out = -out
        out = np.where(self.scale_d[:, None, None], out + acc, out)
        g.acc[form.key] = out.astype(np.float16).astype(np.float32) if form.packed else out
        self.done = True

    def take(self, rows: Array) -> AsyncMma:
        """Return the part of some rows of the group."""
        part, numbers = copying.copy(self), np.cumsum(rows) - 1
        part.scale_d = self.scale_d[rows]
        for name in ("a", "a_at", "b_at"):
            value = getattr(self, name)
            setattr(part, name, None if value is None else value[rows])
        part.granules = [
            (at[rows[of]], numbers[of[rows[of]]], stamp) for at, of, stamp in self.granules
        ]
        return part


def _shared_operands(g: Group, at: Array):
    """Yield (rows, tile [N, K]) for runs of warps that read one tile: as a rule those of a CTA."""
    first = at[:, 0, 0]
    same = np.concatenate([[False], (first[1:] == first[:-1]) & (at[1:] == at[:-1]).all((1, 2))])
    starts = np.flatnonzero(~same)
    for start, stop in zip(starts, [*starts[1:], len(at)], strict=True):
        yield slice(start, stop), at[start]


def _addresses(g: Group, ins: Instruction, slot: int, form: Form, rows: int, mn: int) -> Array:
    """Return byte offsets in the batch's shared memory, [warps, rows, K], of each descriptor."""
    descriptors, shared = uniform_value(g, ins, slot), g.batch.shared
    found = np.empty((len(g), rows, form.depth), np.int64)
    for descriptor in np.unique(descriptors):
        tile = wgmma_tile(int(descriptor), rows, form.depth, form.size, mn) - shared.base
        if tile.min() < 0 or tile.max() + form.size > g.launch.kernel.shared_bytes:
            text = f"wgmma operand at shared bytes {tile.min()} to {tile.max()}"
            row = int(np.flatnonzero(descriptors == descriptor)[0])
            g.launch.report("bounds", g, ins, row, 0, text)
            tile = tile.clip(0, g.launch.kernel.shared_bytes - form.size)
        found[descriptors == descriptor] = tile
    return found + (g.cta * shared.stride)[:, None, None]


def _note_reads(g: Group, ins: Instruction, mma: AsyncMma, at: Array) -> None:
    """Check races of operands [warps, rows, K]: every granule once per warp."""
    shared = g.batch.shared
    if shared.shadow is None:
        return
    granules = np.sort((at >> shared.shift).reshape(len(g), -1), axis=1)
    new = np.ones(granules.shape, np.bool_)
    new[:, 1:] = granules[:, 1:] != granules[:, :-1]
    rows = np.broadcast_to(np.arange(len(g))[:, None], new.shape)[new]
    granules = granules[new][:, None]
    stamp = shared.shadow.new_stamp()
    shared.read(g, ins, granules, rows, np.zeros_like(rows), pending=stamp, proxy=True)
    mma.granules.append((granules, rows, stamp))


@op("warp", "wgmma")
def _wgmma(k: Kernel, ins: Instruction) -> Run:
    if "fence" in ins.modifiers:
        return lambda g: None
    if "commit_group" in ins.modifiers:
        return lambda g: g.mmas.commit()
    if "wait_group" in ins.modifiers:
        return partial(_wait, int(ins.operands[0], 0))
    return _issue(k, ins)


def _wait(keep: int, g: Group) -> None:
    done = g.mmas.wait(keep)
    shadow = g.batch.shared.shadow
    for mma in done:
        mma.execute(g)
        if shadow is not None:
            for at, rows, stamp in mma.granules:
                shadow.retire_reads(g, at, rows, stamp)
    keys = {mma.form.key for mma in done} - {mma.form.key for mma in g.mmas.flying}
    for key in keys & set(g.inflight):
        g.finish(key)


def _finish(key: tuple[int, ...], packed: bool, g: Group) -> None:
    """Write the accumulators back to registers."""
    for mma in g.mmas.flying:
        if mma.form.key == key:
            mma.execute(g)
    for slot, value in zip(key, matrix_to_acc(g.acc.pop(key), packed), strict=True):
        g.regs[slot] = value


def _issue(k: Kernel, ins: Instruction) -> Run:
    shape, operands = re.search(r"m64n(\d+)k(\d+)", ins.opcode), ins.operands
    if not shape or len(ins.types) != 3:
        raise UnsupportedError(f"instruction {ins.text[:100]}")
    ins.allow("mma_async", "sync", "aligned", shape[0])
    acc_t, a_t, b_t = ins.types
    key = tuple(k.dst(ins, x) for x in vector(operands[0]))
    in_registers = operands[1].startswith("{")
    a_slots = [k.src(x, "b32" if in_registers else "u64") for x in vector(operands[1])]
    b_slot, scale_slot = k.src(operands[2], "u64"), k.src(operands[3], "pred")
    # scale-a, scale-b, trans-a, trans-b; A in registers has no trans-a
    flags = [int(x, 0) for x in operands[4:]] + [1, 1, 0, 0][len(operands) - 4 :]
    if in_registers and len(operands) == 7:
        flags = [*flags[:2], 0, int(operands[6], 0)]
    (dec, size), (dec_b, size_b) = operand_decoder(a_t), operand_decoder(b_t)
    if size != size_b or (size > 1 and a_t != b_t):
        raise UnsupportedError(f"instruction {ins.text[:100]}")
    form = Form(
        int(shape[1]), int(shape[2]), (dec, dec_b), size, acc_t == "f16", flags[0] * flags[1], key
    )  # fmt: skip
    dtype = np.int32 if acc_t == "s32" else np.float32
    k.widths["shared"].add(16)
    ins.slots -= set(key)  # chaining on the same accumulators is no hazard

    def issue(g: Group) -> None:
        for other in [x for x in g.inflight if x != key and not set(x).isdisjoint(key)]:
            g.finish_early(other, ins)
        mma = AsyncMma(form, uniform_value(g, ins, scale_slot))
        if in_registers:
            mma.a = a_fragment(g.values(a_slots), dec, 4 // size)
        else:
            at = _addresses(g, ins, a_slots[0], form, 64, flags[2])
            at = at.reshape(len(g), 4, WARP_ROWS, form.depth)
            mma.a_at = at[np.arange(len(g)), g.warp % 4]
            _note_reads(g, ins, mma, mma.a_at)
        mma.b_at = _addresses(g, ins, b_slot, form, form.n, flags[3])
        _note_reads(g, ins, mma, mma.b_at)
        if key not in g.acc:
            value = acc_to_matrix(g.values(list(key)), form.packed)
            g.acc[key] = value if form.packed else value.view(dtype)
            g.inflight[key] = partial(_finish, key, form.packed), SERIALIZED
            for slot in key:
                g.regs[slot] = POISON
        g.mmas.add(mma)
        if g.launch.schedule == RANDOM and g.launch.rng.random() < 0.5:
            for earlier in g.mmas.flying:
                earlier.execute(g)
        g.launch.work(g).macs += WARP_ROWS * form.n * form.depth * len(g)

    return issue
