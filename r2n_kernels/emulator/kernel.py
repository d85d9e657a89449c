"""A compiled kernel is translated once: each instruction becomes a function of a group of warps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .arguments import Grid
from .batch import LOCKSTEP
from .clocks import is_fence
from .counters import Counters
from .dataflow import Dataflow
from .errors import UnsupportedError
from .flow import post_dominators
from .group import Group
from .launch import MAX_STEPS, TEXT, Empty, Launch
from .lines import python_line
from .local import LOCAL_BASE
from .memory import ALIGN, GLOBAL_BASE, SHARED_BASE
from .parse import Instruction, parse
from .together import is_flight, lacking_lanes, warp_rows
from .types import UINT, Array, full, numeric, type_bits

Run = Callable[[Group], Any]
SPECIAL = (
    *("%tid", "%ntid", "%ctaid", "%nctaid", "%laneid", "%warpid", "%nwarpid"),
    *("%clusterid", "%nclusterid", "%is_explicit_cluster"),
    *("%cluster_ctarank", "%cluster_ctaid", "%cluster_nctaid", "%cluster_nctarank"),
    *("%smid", "%nsmid", "%gridid", "%dynamic_smem_size", "%total_smem_size"),
    *("%lanemask_eq", "%lanemask_lt", "%lanemask_le", "%lanemask_gt", "%lanemask_ge"),
)
ENGINES = 8  # more than that many mbarriers of bulk copies share their clocks
SWIZZLE = 1024  # bytes to which dynamic shared memory is aligned behind static one


class Kernel:
    """A Kernel is PTX ready to run on numpy arrays or CPU tensors.

    shared_bytes: of dynamic shared memory per CTA; num_warps: per CTA; names: of the kernel's own
    arguments, in reports instead of the parameters'; types: Triton's, as "*fp16" or "i32", of these
    arguments, which are then held to them; scratch_bytes: of global memory per CTA, which Triton's
    launcher allocates and passes behind the arguments. Raises UnsupportedError, naming
    the instruction, for what is outside the emulated subset.
    """

    def __init__(
        self, ptx: str, shared_bytes: int, num_warps: int, names: Sequence[str] = (),
        scratch_bytes: int = 0, types: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.ptx, self.dynamic_bytes, self.num_warps = ptx, shared_bytes, num_warps
        self.scratch_bytes = scratch_bytes
        self.program = parse(ptx)
        self.cluster = self.program.cluster  # CTAs that run a program of Triton's
        self.given, self.types = tuple(names), tuple(types)
        self.names = [*names, *(name for name, _ in self.program.params[len(names) :])]
        # clocks: of the warps, and of the tensor core where it has one of its own
        code = self.program.instructions
        own_core = any(ins.base == "tcgen05" for ins in code)
        loads = any("mbarrier::complete_tx::bytes" in ins.opcode for ins in code)
        inits = sum(ins.opcode.startswith("mbarrier.init") for ins in code)
        self.engines = min(max(inits, 1), ENGINES) if loads else 0  # that copy for mbarriers
        self.agents = num_warps + own_core + self.engines
        static = -(-self.program.static_shared // SWIZZLE) * SWIZZLE
        self.shared_bytes = static + shared_bytes
        self.symbols = {
            name: SHARED_BASE + (static if at is None else at)
            for name, at in self.program.symbols.items()
        }
        self.constants: dict[str, tuple[int, bytes]] = {}  # name -> (offset in global memory, data)
        top = ALIGN
        for name, data in self.program.constants.items():
            self.constants[name] = top, data
            self.symbols[name] = GLOBAL_BASE + top
            top += -(-len(data) // ALIGN) * ALIGN + ALIGN
        self.symbols |= {name: LOCAL_BASE + at for name, at in self.program.local.items()}
        self.template: list[Array] = []  # what registers hold at the start
        self.slots: dict[str, int] = {}
        self.special: dict[str, int] = {}
        self.own: dict[int, int] = {}  # slots of addresses in a CTA's own shared memory
        self.widths: dict[str, set[int]] = {"global": set(), "shared": set()}  # seen, in bytes
        self._used: set[int] = set()
        self.param_slots = {name: self._slot(name, type_bits(t)) for name, t in self.program.params}
        self.together: list[Callable[[Group], Array | None] | None] = []
        self.code = [self._translate(ins) for ins in self.program.instructions]
        self.is_flight = [is_flight(ins) for ins in self.program.instructions]
        self.is_memory = [
            OPS[ins.base][1] == "memory" or "matrix" in ins.base
            for ins in self.program.instructions
        ]
        self._used = set()
        orders = [ins.order for ins in self.program.instructions if ins.order is not None]
        self.fences = bool(orders) and any(
            is_fence(ins.base, ins.modifiers) for ins in self.program.instructions
        )
        self.synchronises = self.fences or any(order.acquire or order.release for order in orders)

    @cached_property
    def flow(self) -> Dataflow:
        return Dataflow(self)

    def kind(self, ins: Instruction) -> str:
        """Return the kind of an instruction: see OPS."""
        return OPS[ins.base][1]

    def run(
        self, grid: Grid, args: Sequence[Any], *, schedule: str = LOCKSTEP, seed: int = 0,
        strict: bool = True, track: bool = True, ctas: Sequence[int] | None = None,
        side_by_side: int | None = None, memory: Sequence[Any] = (), empty: Empty = (),
        progress: Callable[[int], None] | None = None, max_steps: int = MAX_STEPS,
    ) -> Counters:  # fmt: skip
        """Launch on arrays (numpy's or CPU tensors), which change in place, and numbers.

        grid: one to three sizes, or a function from the arguments by name to them; of programs,
        each of which is a cluster of CTAs where the kernel was compiled with num_ctas. args: in the
        order of the kernel's parameters, a host's tensor descriptor as tensormaps.host_arguments
        makes it; missing ones at the end (Triton's scratch pointers) are 0, or scratch_bytes of
        memory. schedule: of SCHEDULES. strict: raise EmulationError at the first finding that is
        not advisory, instead of noting it in the counters' reports. track: look for races. ctas:
        run only the programs at these places of the grid, x fastest. side_by_side: CTAs that run
        at once; by default as many as make numpy's work worth its overhead. memory: arrays that
        are no arguments, and are reached through pointers to them that lie in others. empty: names
        or places of array arguments that nobody has written, so that reading them is reported; or,
        with each, which of its bytes (an array of bools, which the launch clears where it writes).
        progress: is told how many CTAs are done. max_steps: instructions of one warp, for programs
        that never end. Raises ArgumentError for what the kernel does not take.
        """
        return Launch(
            self, grid, args, schedule=schedule, seed=seed, strict=strict, track=track,
            ctas=ctas, side_by_side=side_by_side, memory=memory, empty=empty,
            progress=progress, max_steps=max_steps,
        ).run()  # fmt: skip

    @cached_property
    def post_dominators(self) -> list[int]:
        """Return where lanes that part at an instruction meet again."""
        return post_dominators(self.program)

    # Operands, as the builders of instructions ask for them

    def _slot(self, name: str, bits: int, value: Array | None = None) -> int:
        if name not in self.slots:
            self.slots[name] = len(self.template)
            poison: Array = np.full((1, 1), (1 << bits) - 1 if bits > 1 else False, UINT[bits])
            self.template.append(poison if value is None else value)
        self._used.add(self.slots[name])
        return self.slots[name]

    def bits(self, name: str) -> int | None:
        """Return the declared width of a register, None for anything else."""
        return self.program.widths.get(name)

    def dst(self, ins: Instruction, name: str) -> int:
        """Return the slot of a destination register. Raises LookupError for anything else."""
        slot = self._slot(name, self.program.widths[name])
        ins.destinations.append(slot)
        return slot

    def dst_or_sink(self, ins: Instruction, name: str) -> int | None:
        """Return the slot of a destination register, None for the sink "_"."""
        return None if name == "_" else self.dst(ins, name)

    def src(self, text: str, t: str) -> int:
        """Return a source's slot: a register, special register, symbol, or immediate of type t."""
        bits, declared = type_bits(t), self.bits(text)
        if declared:
            return self._slot(text, declared)
        if text in self.program.blocks:
            return self._slot(text, 64)  # the address of a parameter passed by value
        if text.startswith("%"):
            if text.split(".")[0] not in SPECIAL:
                raise UnsupportedError(f"operand {text}")
            self.special[text] = self._slot(text, bits)
            return self.special[text]
        value = self._immediate(text, t)
        value = bool(value) if bits == 1 else value & ((1 << bits) - 1)
        if self.cluster > 1 and text.partition("+")[0].strip() in self.program.symbols:
            slot = self._slot(f"symbol.{bits}.{value}", bits)
            self.own[slot] = value
            return slot
        return self._slot(f"const.{bits}.{value}", bits, np.full((1, 1), value, UINT[bits]))

    def _immediate(self, text: str, t: str) -> int:
        name, _, offset = text.partition("+")
        if name.strip() in self.symbols:
            return self.symbols[name.strip()] + int(offset or "0", 0)
        if re.match(r"0[fFdD][0-9A-Fa-f]", text):
            return int(text[2:], 16)
        if re.fullmatch(r"-?0[0-7]+U?", text):
            return int(text.rstrip("U"), 8)
        if re.fullmatch(r"-?(0[xX][0-9A-Fa-f]+|0[bB][01]+|\d+)U?", text):
            return int(text.rstrip("U"), 0)
        if re.fullmatch(r"-?\d+\.\d*(?:[eE][-+]?\d+)?", text) and t in ("f32", "f64"):
            return int(np.array(float(text), numeric(t)).view(UINT[type_bits(t)]))
        raise UnsupportedError(f"operand {text}")

    def carry(self) -> int:
        """Return the slot of the carry flag."""
        return self._slot("%carry", 1)

    def predicate(self, ins: Instruction) -> Callable[[Group], Array]:
        """Return a function from a group to where the predicate of `ins` holds, as a register."""
        assert ins.pred is not None
        slot, negated = self.src(ins.pred, "pred"), ins.negated
        return lambda g: g.regs[slot] != negated

    def lanes(self, ins: Instruction) -> Callable[[Group], Array]:
        """Return a function from a group to lanes where `ins` is to run: g.all, or places in it."""
        if ins.pred is None:
            return lambda g: g.active
        predicate = self.predicate(ins)

        def select(g: Group) -> Array:
            mask = predicate(g)
            if mask.all():
                return g.active
            if g.mask is not None:
                mask = mask & g.mask
            return np.flatnonzero(full(mask, len(g)))

        return select

    def on_lanes(self, ins: Instruction, act: Callable[[Group, Array], Any]) -> Run:
        """Return a run in which `act` gets the lanes where `ins` is to run, if there are any."""
        select = self.lanes(ins)

        def run(g: Group) -> Any:
            lanes = select(g)
            return act(g, lanes) if len(lanes) else None

        return run

    def address(self, text: str, space: str) -> Callable[[Group, Array], Array]:
        """Return a function (group, lanes) -> int64 addresses of "[base + offset]"."""
        match = re.fullmatch(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\w+))?\s*\]", text)
        if not match:
            raise UnsupportedError(f"address {text}")
        slot = self.src(match[1], "u32" if space == "shared" else "u64")
        offset = int(match[2] or "0", 0)

        def evaluate(g: Group, lanes: Array) -> Array:
            base = g.value(slot).reshape(-1)
            return (base if lanes is g.all else base[lanes]).astype(np.int64) + offset

        return evaluate

    def _refusal(self, ins: Instruction, reason: str) -> UnsupportedError:
        """Say what is not emulated, where, and which line of Python asked for it."""
        reason = reason if ins.opcode in reason else f"{reason} in {ins.text}"
        reason = reason.replace(ins.text, ins.text[:TEXT])
        place = "" if ins.source == "?" else f"{ins.source}: "
        line = python_line(self.ptx, ins.source)
        return UnsupportedError(f"{place}not emulated: {reason}{line and f' | {line}'}")

    def _translate(self, ins: Instruction) -> Run:
        if ins.base not in OPS:
            raise self._refusal(ins, f"instruction {ins.text}")
        builder, kind = OPS[ins.base]
        self._used = ins.slots
        try:
            run = builder(self, ins)
            self.together.append(lacking_lanes(self, ins, kind))
        except UnsupportedError as error:
            raise self._refusal(ins, str(error)) from error
        except (LookupError, StopIteration) as error:  # a modifier or operand that it needs
            raise self._refusal(ins, f"instruction {ins.text}") from error
        if ins.pred is None or kind == "memory":
            return run
        predicate = self.predicate(ins)
        return uniform(run, predicate) if kind == "warp" else _merged(ins, run, predicate)


def uniform(run: Run, predicate: Callable[[Group], Array]) -> Run:
    """Run where the predicate holds; warps and lanes that disagree are split off."""

    def agreed(g: Group) -> Any:
        rows = warp_rows(g, predicate(g))
        if rows is True:
            return run(g)
        return None if rows is False else rows

    return agreed


def _merged(ins: Instruction, run: Run, predicate: Callable[[Group], Array]) -> Run:
    """Keep the old value of destinations in lanes where the predicate does not hold."""
    slots = ins.destinations

    def merged(g: Group) -> None:
        mask = predicate(g)
        if mask.any():
            old = [g.regs[slot] for slot in slots]
            run(g)
            if not mask.all():
                for slot, value in zip(slots, old, strict=True):
                    g.regs[slot] = np.where(mask, g.regs[slot], value)

    return merged


# base opcode -> (builder, kind). A builder takes (kernel, instruction) and returns a Run. kind:
# "alu": lanes on their own; "memory": it heeds the predicate itself; "warp": whole warps only.
OPS: dict[str, tuple[Callable[[Kernel, Instruction], Run], str]] = {}


def op(kind: str, *names: str):
    """Register the builder of some opcodes."""

    def register(builder: Callable[[Kernel, Instruction], Run]):
        for name in names:
            OPS[name] = builder, kind
        return builder

    return register
