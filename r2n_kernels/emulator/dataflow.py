"""Dataflow says, from the program alone, where a register comes from and what it can do.

A load whose value reaches nothing but stores that its warp will not execute is dead: warps that
repeat others' work, in a tile smaller than the CTA, load what only those others store.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from .types import Array, full, is_float

if TYPE_CHECKING:
    from .group import Group
    from .kernel import Kernel
    from .parse import Instruction

PASSED_ON = ("shfl", "redux", "vote", "match", "mma")  # to other lanes of the warp
UNCHANGING = ("%tid", "%ntid", "%ctaid", "%nctaid", "%laneid", "%warpid", "%nwarpid")
# what computes floats, and how it does so in double precision
FLOATING: dict[str, Any] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "fma": lambda a, b, c: a * b + c, "mad": lambda a, b, c: a * b + c,
    "div": lambda a, b: a / b, "neg": lambda a: -a, "abs": np.abs, "min": np.fmin, "max": np.fmax,
    "sqrt": np.sqrt, "rsqrt": lambda a: 1 / np.sqrt(a), "rcp": lambda a: 1 / a, "ex2": np.exp2,
    "lg2": np.log2, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "cvt": lambda a: a,
}  # fmt: skip
MOVING = ("mov", "selp", "shfl")
BITS = {"u16", "u32", "b16", "b32", "s16", "s32"}  # a cvt among these carries halves to shuffles


def moves(ins: Instruction) -> bool:
    """Return whether an instruction passes bits on as they are."""
    return ins.base in MOVING or (ins.base == "cvt" and BITS.issuperset(ins.types))


class Dataflow:
    """Dataflow is a program's registers (slots): what defines them, and who uses them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.instructions = kernel.program.instructions
        self.predicate = [
            kernel.slots[ins.pred] if ins.pred is not None else None for ins in self.instructions
        ]
        self.makers: dict[int, list[Instruction]] = defaultdict(list)
        self.users: dict[int, list[Instruction]] = defaultdict(list)
        for ins in self.instructions:
            for slot in ins.destinations:
                self.makers[slot].append(ins)
            for slot in ins.slots - set(ins.destinations):
                self.users[slot].append(ins)
        self.unchanging = {
            slot for name, slot in kernel.slots.items()
            if name.split(".")[0] in UNCHANGING or name.startswith("const.")
        } | set(kernel.param_slots.values())  # fmt: skip
        self._vital = self._find_vital()
        self._guards: dict[int, list[tuple[Guard, bool]] | None] = {}
        self._kinds: dict[int, str | None] = {}

    def maker(self, slot: int) -> Instruction | None:
        """Return the one instruction that defines a register, if there is just one."""
        makers = self.makers.get(slot, [])
        return makers[0] if len(makers) == 1 and makers[0].pred is None else None

    # What becomes of a value

    def _effect(self, ins: Instruction) -> bool | None:
        """Return None for an instruction that only computes, else whether it acts for sure: one
        with a predicate does so for the lanes where that holds.
        """
        if self.kernel.kind(ins) == "alu" or ins.base in PASSED_ON:
            return None
        return ins.pred is None or ins.base not in ("ld", "st", "atom", "red")

    def _find_vital(self) -> set[int]:
        """Return the registers that reach an effect whatever predicates say."""
        vital: set[int] = set()
        found = [slot for slot, users in self.users.items() if any(self._effect(u) for u in users)]
        while found:
            slot = found.pop()
            if slot in vital:
                continue
            vital.add(slot)
            for ins in self.makers.get(slot, ()):
                if self._effect(ins) is None:
                    found.extend(ins.slots - set(ins.destinations))
        return vital

    def live(self, g: Group, ins: Instruction) -> Array | None:
        """Return the lanes of a group for which a load can matter, [warps, 32]; None: for all."""
        if ins.index not in self._guards:
            self._guards[ins.index] = self._guards_of(ins)
        guards = self._guards[ins.index]
        if guards is None:
            return None
        live: Array = np.zeros(g.shape, np.bool_)
        for guard, of_warp in guards:
            holds = full(guard.holds(g), len(g))
            live |= holds.any(1, keepdims=True) if of_warp else holds
        return live

    def _guards_of(self, load: Instruction) -> list[tuple[Guard, bool]] | None:
        """Return what must hold for some effect of a load, and whether in any lane of the warp."""
        guards: dict[tuple[int, bool, bool], Guard | None] = {}
        found, seen = [(slot, False) for slot in load.destinations], set()
        while found:
            slot, of_warp = found.pop()
            if slot in self._vital:
                return None
            if (slot, of_warp) in seen:
                continue
            seen.add((slot, of_warp))
            for ins in self.users.get(slot, ()):
                if self._effect(ins) is None:
                    wide = of_warp or ins.base in PASSED_ON
                    found.extend((out, wide) for out in ins.destinations)
                    continue
                predicate = self.predicate[ins.index]
                assert predicate is not None
                key = predicate, ins.negated, of_warp
                if key not in guards:
                    guards[key] = self._guard(predicate, ins.negated)
        if not guards or None in guards.values():  # one without any use was meant to matter
            return None
        return [(guard, key[2]) for key, guard in guards.items() if guard is not None]

    def _guard(self, slot: int, negated: bool) -> Guard | None:
        """Return what a predicate needs of tid, ctaid and arguments alone, if it needs any."""
        terms, slots, needs = [], [slot], []
        while slots:
            one = slots.pop()
            maker = self.maker(one)
            if maker is not None and maker.base == "and" and not negated:
                slots.extend(maker.slots - set(maker.destinations))
            else:
                terms.append(one)
        for term in terms:
            steps: set[int] = set()
            if self._computable(term, steps):
                needs.append((term, sorted(steps)))
        return Guard(self.kernel, needs, negated) if needs else None

    def _computable(self, slot: int, steps: set[int]) -> bool:
        """Collect what computes a register of what never changes. Return False where it cannot."""
        found = [slot]
        while found:
            one = found.pop()
            maker = self.maker(one)
            if one in self.unchanging or (maker is not None and maker.index in steps):
                continue
            if maker is None or (
                self.kernel.kind(maker) != "alu"
                and not (maker.base == "ld" and "param" in maker.modifiers)
            ):
                return False
            steps.add(maker.index)
            found.extend(maker.slots - set(maker.destinations))
        return True

    def kind_of(self, slot: int) -> str | None:
        """Return the floating type that a register was computed in, None for any other value."""
        if slot not in self._kinds:
            self._kinds[slot] = None  # what goes round in a loop says nothing
            kinds = {self._kind_made(ins) for ins in self.makers.get(slot, ())}
            kinds.discard("")
            self._kinds[slot] = kinds.pop() if len(kinds) == 1 else None
        return self._kinds[slot]

    def _kind_made(self, ins: Instruction) -> str | None:
        """Return the floating type of a result, "" for a constant that may be of any."""
        if ins.base in FLOATING and ins.types and is_float(ins.types[0]):
            return ins.types[0]
        if not moves(ins):
            return None
        sources = ins.slots - set(ins.destinations) - {self.predicate[ins.index]}
        values = [s for s in sources if s not in self.unchanging]
        if ins.base == "selp":
            values = [s for s in values if len(self.kernel.template[s]) and not self._is_bool(s)]
        kinds = {self.kind_of(s) for s in values}
        if not kinds:
            return ""
        kind = kinds.pop() if len(kinds) == 1 else None
        halves = kind in ("f16", "bf16") and ins.base == "mov" and "{" in ins.operands[-1]
        return f"{kind}x2" if halves else kind

    def _is_bool(self, slot: int) -> bool:
        return self.kernel.template[slot].dtype == np.bool_


class Guard:
    """A Guard is predicates that can be computed before the program does."""

    def __init__(self, kernel: Kernel, needs: list[tuple[int, list[int]]], negated: bool) -> None:
        self.kernel, self.needs, self.negated = kernel, needs, negated

    def holds(self, g: Group) -> Array:
        """Return where all hold, as a register."""
        kept, answer = list(g.regs), np.ones((1, 1), np.bool_)
        for slot, steps in self.needs:
            for step in steps:
                self.kernel.code[step](g)
            answer = answer & (g.regs[slot] != self.negated)
        g.regs[:] = kept
        return answer
