"""Replicas are values that Triton computes in several lanes or warps, for one element of a tensor.

They differ by rounding where a butterfly of shuffles combines them in another order, and all are
stored: whichever comes last, the result is as good. A race of such stores is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dataflow import FLOATING, moves
from .types import LANES, UINT, Array, decode, type_bits

if TYPE_CHECKING:
    from .group import Group
    from .kernel import Kernel
    from .parse import Instruction

# how far apart values of one instruction may be, relative to the larger one
CLOSE = {"f64": 2.0**-44, "f32": 2.0**-16, "tf32": 2.0**-9, "f16": 2.0**-8, "bf16": 2.0**-6}
EXACT = 1e-9  # the same in double precision, relative to the terms of a sum
ROUNDED = {"f64": 1e-13, "f32": 1e-5, "f16": 0.02, "bf16": 0.1}  # what a computed one may be off
LONGEST = 4000  # instructions to compute again


class Stored:
    """Stored is what lanes of one instruction are about to write, values [lanes, n].

    of_warp: a warp's registers hold the values of its lanes' places together, as for stmatrix.
    """

    def __init__(
        self, g: Group, ins: Instruction, view: Array, place: Array, values: Array, lanes: Array
    ) -> None:
        self.g, self.ins, self.view, self.place = g, ins, view, place
        self.values, self.lanes, self.of_warp = values, lanes, ins.base == "stmatrix"

    def winners(self) -> Array:
        """Return for each lane the last lane of its warp that writes to the same place."""
        key = self.place * len(self.g) + self.lanes // LANES
        _, first, inverse = np.unique(key[::-1], return_index=True, return_inverse=True)
        return len(key) - 1 - first[inverse.reshape(-1)][::-1]

    def differs(self, same: Array) -> Array:
        """Return which lanes' warps change memory. same: those that follow this instruction."""
        old, new = self.view.take(self.place, axis=0), self.values[self.winners()]
        changed = (old != new).any(1)
        return changed & ~(same & self.close(old, new)) if (changed & same).any() else changed

    def close(self, a: Array, b: Array) -> Array:
        """Return which values were computed in floating point and are nearly equal."""
        return np.all([self._near(i, a[:, i], b[:, i]) for i in range(a.shape[1])], axis=0)

    def _near(self, i: int, a: Array, b: Array) -> Array:
        kind = self._kind(i)
        if kind is None:
            return a == b
        x, y = (decode(kind)(np.ascontiguousarray(v)).astype(np.float64) for v in (a, b))
        bound = CLOSE[kind.removesuffix("x2")] * np.maximum(np.abs(x), np.abs(y))
        near = (np.abs(x - y) <= bound) | (np.isnan(x) & np.isnan(y)) | (x == y)
        return near.reshape(len(a), -1).all(1)

    def disagreeing(self) -> Array:
        """Return which lanes are no replicas of the last one of their warp at their place."""
        winners, differ = self.winners(), np.zeros(len(self.values), np.bool_)
        for i in range(self.values.shape[1]):
            apart = ~self._near(i, self.values[:, i], self.values[winners, i])
            if apart.any():
                again = self._again(i)
                if again is not None:
                    x, scale = again
                    apart &= np.abs(x - x[winners]) > EXACT * (scale + scale[winners])
            differ |= apart
        return differ

    def _kind(self, i: int) -> str | None:
        """Return the floating type of the i-th value of a lane."""
        flow, stored, bits = self.g.launch.kernel.flow, self.ins.stored, self._bits
        slots = stored if self.of_warp else stored[i : i + 1]
        kinds = {flow.kind_of(slot) for slot in slots}
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is not None and self.of_warp:
            kind = kind if type_bits(kind) == bits else kind.removesuffix("x2")
        return kind if kind is not None and type_bits(kind) == bits else None

    @property
    def _bits(self) -> int:
        return 8 * self.values.dtype.itemsize

    def _again(self, i: int) -> tuple[Array, Array] | None:
        """Return the i-th values in double precision, and how large their terms are."""
        kind = self._kind(i)
        if kind not in ROUNDED or (self.of_warp and self._bits < 32):
            return None
        again = Again(self.g.launch.kernel, self.g)
        slots = self.ins.stored if self.of_warp else [self.ins.stored[i]]
        made = [again.compute(slot, kind) for slot in slots]
        found = []
        for part in (0, 1):
            lanes = np.stack([np.broadcast_to(one[part], self.g.shape) for one in made], axis=1)
            if self.of_warp:  # [warps, matrices, rows, words]
                lanes = lanes.reshape(*lanes.shape[:2], -1, self.values.shape[1])[..., i]
                found.append(lanes.reshape(-1))
            else:
                found.append(lanes.reshape(-1)[self.lanes])
        return found[0], found[1]


class Again:
    """Again computes registers in double precision, from what the program still holds."""

    def __init__(self, kernel: Kernel, g: Group) -> None:
        self.kernel, self.flow, self.g = kernel, kernel.flow, g
        self.made: dict[int, tuple[Array, Array]] = {}  # by slot: value, and size of its terms

    def compute(self, slot: int, kind: str) -> tuple[Array, Array]:
        """Return (value, size of the terms it is made of) of a register, [warps or 1, 32 or 1]."""
        steps: set[int] = set()
        found = [slot]
        while found and len(steps) < LONGEST:
            maker = self.flow.maker(found.pop())
            if maker is not None and maker.index not in steps and self._known(maker):
                steps.add(maker.index)
                found.extend(maker.slots - set(maker.destinations))
        for step in sorted(steps):
            self._step(self.kernel.program.instructions[step])
        return self._value(slot, kind)

    def _known(self, ins: Instruction) -> bool:
        if moves(ins):
            return self.flow.kind_of(ins.destinations[0]) in ROUNDED
        return ins.base in FLOATING and all(t in ROUNDED for t in ins.types)

    def _value(self, slot: int, kind: str) -> tuple[Array, Array]:
        if slot in self.made:
            return self.made[slot]
        value = self._now(slot, kind)
        return value, np.abs(value)

    def _now(self, slot: int, kind: str) -> Array:
        # halves may be in wider registers
        raw: Array = self.g.regs[slot].astype(UINT[type_bits(kind)])
        return decode(kind)(raw).astype(np.float64)

    def _step(self, ins: Instruction) -> None:
        out = ins.destinations[0]
        kind = self.flow.kind_of(out)
        assert kind is not None
        if ins.base in FLOATING and not moves(ins):
            types = ins.types if ins.base == "cvt" else [ins.types[0]] * len(ins.operands)
            names = zip(ins.operands[1:], types[1:], strict=False)
            value, scale = _with_scale(ins.base, [self._operand(o, t) for o, t in names])
        elif ins.base == "shfl":
            value, scale = (self._shuffled(ins, v) for v in self._operand(ins.operands[1], kind))
        elif ins.base == "selp":
            a, b = (self._operand(o, kind) for o in ins.operands[1:3])
            which = self.g.regs[self.kernel.slots[ins.operands[3]]]
            value, scale = (np.where(which, x, y) for x, y in zip(a, b, strict=True))
        else:
            value, scale = self._operand(ins.operands[1], kind)
        really = self._now(out, kind)
        off = np.abs(value - really) > ROUNDED[kind] * (scale + np.abs(really))
        if not off.any():  # else its operands are no longer those that it was made of
            self.made[out] = value, scale

    def _operand(self, name: str, kind: str) -> tuple[Array, Array]:
        return self._value(self.kernel.src(name, kind), kind)

    def _shuffled(self, ins: Instruction, value: Array) -> Array:
        """Return the value after a shuffle, which is carried out on the numbers of lanes."""
        regs, source = self.g.regs, self.kernel.slots[ins.operands[1]]
        kept = {slot: regs[slot] for slot in (source, *ins.destinations)}
        regs[source] = np.arange(LANES, dtype=np.uint32)[None, :]
        self.kernel.code[ins.index](self.g)
        lanes = np.broadcast_to(regs[ins.destinations[0]], self.g.shape).astype(np.int64)
        for slot, register in kept.items():
            regs[slot] = register
        return np.take_along_axis(np.broadcast_to(value, self.g.shape), lanes, axis=1)


def _with_scale(name: str, operands: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return f(operands), and how large the terms are that rounding is relative to."""
    values, scales = [v for v, _ in operands], [s for _, s in operands]
    result = FLOATING[name](*values)
    if name in ("add", "sub"):
        return result, scales[0] + scales[1]
    if name in ("mul", "fma", "mad"):
        product = np.abs(values[0]) * scales[1] + np.abs(values[1]) * scales[0]
        return result, product + (scales[2] if len(scales) > 2 else 0)
    if name == "div":
        return result, (scales[0] + np.abs(result) * scales[1]) / np.abs(values[1])
    if name == "rcp":
        return result, scales[0] * result * result
    return result, np.abs(result) * (1 + (scales[0] if name == "ex2" else 0)) + scales[0] * (
        name in ("neg", "abs", "min", "max", "cvt", "sin", "cos", "tanh")
    )
