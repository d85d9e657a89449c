"""This file runs one launch: arguments in global memory, CTAs in batches, the instruction loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import SCRATCH, Grid, checked_arguments, checked_grid, checked_places
from .arrays import bytes_of, dtype_name, is_array, item_size
from .batch import RANDOM, SCHEDULES, Batch
from .clocks import Agents, Columns
from .counters import Counters, Work
from .errors import ADVISORY, ArgumentError, EmulationError, Report
from .memory import ALIGN, GLOBAL_BASE, Memory, Part, Region
from .stepping import run_parts, run_whole
from .tensormaps import BYTES, SIZES, TensorMap
from .types import LANES, UINT, Array, type_bits
from .waiting import explain, same_state, state

if TYPE_CHECKING:
    from .group import Group
    from .kernel import Kernel

GUARD = 1 << 24  # unmapped bytes around each argument; never touched, so they cost no memory
SIDE_BY_SIDE = 4096  # lanes that run at once: more than hide numpy's overhead fall out of cache
PREEMPT = 0.2  # chance of a group to be stopped at a memory instruction, under "random"
MAX_STEPS = 10_000_000  # instructions of one warp
TEXT = 100  # characters of an instruction in a report

# of arguments, by name or place: which bytes nobody wrote; None, or no mapping: all
Empty = Mapping[str | int, Array | None] | Collection[str | int]


class Launch:
    """See Kernel.run."""

    def __init__(
        self, kernel: Kernel, grid: Grid, args: Sequence[Any], *, schedule: str, seed: int,
        strict: bool, track: bool, ctas: Sequence[int] | None, side_by_side: int | None,
        memory: Sequence[Any] = (), empty: Empty = (),
        progress: Callable[[int], None] | None = None, max_steps: int = MAX_STEPS,
    ) -> None:  # fmt: skip
        if schedule not in SCHEDULES:
            names = ", ".join(SCHEDULES)
            raise ValueError(f"unknown schedule '{schedule}'; expected one of {names}")
        nx, ny, nz = every = checked_grid(grid, dict(zip(kernel.names, args, strict=False)))
        self.kernel, self.grid = kernel, (nx * kernel.cluster, ny, nz)
        self.schedule, self.strict, self.track = schedule, strict, track
        self.rng, self.counters = np.random.default_rng(seed), Counters()
        self.preempt = PREEMPT if schedule == RANDOM else 0.0
        size, programs = kernel.cluster, list(checked_places(ctas, every))
        self.places = [program * size + rank for program in programs for rank in range(size)]
        many = side_by_side or max(1, SIDE_BY_SIDE // (LANES * kernel.num_warps))
        self.side_by_side = -(-many // size) * size
        self.columns = Columns(
            kernel.agents * size, programs, synchronises=track and kernel.synchronises,
            fences=kernel.fences,
        )  # fmt: skip
        self.progress, self.max_steps = progress, max_steps
        self.batches: list[Batch] = []  # that run
        self.waiting = self.places  # those that have not begun
        self.changes = 0  # of global memory
        self.registers = list(kernel.template)
        self.steps = [0] * len(kernel.code)
        lines: defaultdict[str, Work] = defaultdict(Work)  # by the place in Python
        self.works = [lines[ins.source] for ins in kernel.program.instructions]
        self._map(args, memory)
        self._empty(empty)

    def run(self) -> Counters:
        with np.errstate(all="ignore"):
            self._run_batches()
        self._write_back()
        del self.memory  # it refers back here, and would wait for the garbage collector
        self._add_up()
        return self.counters

    def work(self, g: Group) -> Work:
        """Return the counters of the line that a group is at."""
        return self.works[g.pc]

    def _add_up(self) -> None:
        """Sum what was counted by lines."""
        instructions = self.kernel.program.instructions
        for ins, work, count in zip(instructions, self.works, self.steps, strict=True):
            if count:
                work.instructions[ins.opcode] += count
                self.counters.lines[ins.source] = work
        for work in self.counters.lines.values():
            self.counters.include(work)

    def _split_off(self, n: int) -> tuple[list[int], list[int]]:
        return self.waiting[:n], self.waiting[n:]

    def cancel(self) -> tuple[int, int, int, int]:
        """Take a cluster off those that wait: (is there one, the place of its first CTA)."""
        if not self.waiting:
            return 0, 0, 0, 0
        (number, *_), self.waiting = self._split_off(self.kernel.cluster)
        return 1, *self.place(number)

    def _run_batches(self) -> None:
        """Run batches one by one; the next one begins early where all others wait for it."""
        before: list | None = None
        while True:
            begins = bool(self.waiting)
            if begins:
                now, self.waiting = self._split_off(self.side_by_side)
                self.batches.append(Batch(self, now))
            elif not self.batches:
                return
            changes = self.changes
            self.batches = [batch for batch in self.batches if not batch.run()]
            while self.batches and self.changes != changes:
                changes = self.changes
                self.batches = [batch for batch in self.batches if not batch.run()]
            if self.progress is not None:
                begun = len(self.places) - len(self.waiting)
                self.progress(begun - sum(len(batch.places) for batch in self.batches))
            if not begins and self.batches:
                found = state(g for batch in self.batches for g in batch.groups)
                if before is not None and same_state(before, found):
                    raise EmulationError(f"all wait for ever: {explain(self.batches)}")
                before = found

    def execute(self, g: Group) -> None:
        """Run a group until it blocks, ends, polls or is preempted."""
        whole = g.mask is None and not g.joins
        g.steps += run_whole(self, g) if whole else run_parts(self, g)
        if g.steps > self.max_steps:
            limit = (
                f"a warp has executed {g.steps:,} instructions, over max_steps={self.max_steps:,}"
            )
            raise EmulationError(f"{limit}: {explain(self.batches)}")

    def place(self, number: int) -> tuple[int, int, int]:
        """Return the CTA of a number in the grid."""
        nx, ny, _ = self.grid
        return number % nx, number // nx % ny, number // (nx * ny)

    def report(self, kind: str, who: Agents, ins, row: int, lane: int, text: str) -> None:
        """Note a finding; raise it where this run is strict and it is not advisory."""
        size = self.kernel.cluster
        rank = int(who.agent[row]) // self.kernel.agents
        cta = self.place((int(who.block[row]) - 1) * size + rank)
        warp = int(who.warp[row])
        found = Report(
            kind, text, cta, warp if warp < self.kernel.num_warps else None, int(lane),
            ins.text[:TEXT], ins.source,
        )  # fmt: skip
        self.counters.add(found)
        if self.strict and kind not in ADVISORY:
            raise EmulationError(str(found))

    def _map(self, args: Sequence[Any], others: Sequence[Any]) -> None:
        """Lay arrays out in fake global memory; views of the same memory stay overlapping."""
        args, params = checked_arguments(self.kernel, args), self.kernel.program.params
        if (
            self.kernel.scratch_bytes and len(args) == len(params) - SCRATCH
        ):  # that, and a profiler's
            args.append(np.zeros(prod(self.grid) * self.kernel.scratch_bytes, np.uint8))
        self.owners = args, others  # of the memory that `arrays` only point to
        bases = {i: a.base if isinstance(a, TensorMap) else a for i, a in enumerate(args)}
        found = {i: bytes_of(a) for i, a in bases.items() if is_array(a)}
        found |= {len(params) + i: bytes_of(a) for i, a in enumerate(others)}
        self.arrays = {i: data for i, (data, _) in found.items()}
        firsts = {i: first for i, (_, first) in found.items()}
        names = [f"argument {name}" for name in self.kernel.names]
        names += [f"memory {i}" for i in range(len(others))]
        spans: list[tuple[int, int, list[int]]] = []
        for i in sorted(self.arrays, key=lambda i: self.arrays[i].ctypes.data):
            start = self.arrays[i].ctypes.data
            stop = start + self.arrays[i].size
            if spans and start < spans[-1][1]:
                first, last, members = spans[-1]
                spans[-1] = (first, max(last, stop), [*members, i])
            else:
                spans.append((start, stop, [i]))
        self.offsets: dict[int, int] = {}
        self.first: dict[int, Region] = {}  # the region of each argument but later ones in it
        constants = self.kernel.constants
        regions = [Region(at, at + len(data), f"constant {name}")
                   for name, (at, data) in constants.items()]  # fmt: skip
        top = GUARD + max((region.stop for region in regions), default=0)
        top = -(-top // ALIGN) * ALIGN
        for start, stop, members in spans:
            top += start % 16  # a misaligned view stays misaligned
            name = "/".join(names[i] for i in sorted(members)).replace("/argument ", "/")
            self.offsets |= {i: top + self.arrays[i].ctypes.data - start for i in members}
            parts = tuple(
                Part(names[i].removeprefix("argument "), self.offsets[i] + firsts[i],
                     self.arrays[i].size, item_size(bases[i]), dtype_name(bases[i]))
                for i in sorted(members) if i in bases
            )  # fmt: skip
            regions.append(Region(top, top + stop - start, name, start, parts))
            self.first[min(members)] = regions[-1]
            top = -(-(top + stop - start + GUARD) // ALIGN) * ALIGN
        maps = {i: a for i, a in enumerate(args) if isinstance(a, TensorMap)}
        blocks = {}
        for i in maps:
            blocks[i] = top
            regions.append(Region(top, top + BYTES, f"descriptor {self.kernel.names[i]}"))
            top += ALIGN
        widths = self.kernel.widths["global"] | {SIZES.get(m.elemtype, 1) for m in maps.values()}
        self.memory = Memory(
            self, "global", GLOBAL_BASE, top, min(widths | {16}), regions,
            many=len(self.places) > self.kernel.cluster,
        )  # fmt: skip
        for at, table in constants.values():
            self.memory.data[at : at + len(table)] = np.frombuffer(table, np.uint8)
        for i, data in self.arrays.items():
            self.memory.data[self.offsets[i] : self.offsets[i] + data.size] = data
        for i, place in blocks.items():
            made = maps[i].encode(GLOBAL_BASE + self.offsets[i])
            self.memory.data[place : place + BYTES] = made
        for i, (name, t) in enumerate(params):
            if (name in self.kernel.program.blocks) != (i in blocks):
                takes = "no TensorMap" if i in blocks else "a TensorMap"
                got = type(args[i]).__name__ if i < len(args) else "nothing"
                raise ArgumentError(f"{self.kernel.names[i]} takes {takes}, got {got}")
            value = args[i] if i < len(args) else 0
            if i in blocks:
                value = GLOBAL_BASE + blocks[i]
            elif i in self.offsets:
                value = GLOBAL_BASE + self.offsets[i] + firsts[i]
            bits = type_bits(t)
            self.registers[self.kernel.param_slots[name]] = np.full((1, 1), value, UINT[bits])

    def _empty(self, empty: Empty) -> None:
        """Fill what nobody wrote with NaNs, and remember it."""
        self.blank: dict[int, Array] = {}  # by argument: which bytes nobody wrote
        given = empty if isinstance(empty, Mapping) else dict.fromkeys(empty)
        for key, mask in given.items():
            i = self.kernel.names.index(key) if key in self.kernel.names else key
            if i not in self.arrays:
                arrays = ", ".join(self.kernel.names[i] for i in sorted(self.arrays))
                raise ValueError(f"empty argument {key!r} is not one of the arrays {arrays}")
            size, start = self.arrays[i].size, self.offsets[i]
            blank: Array = np.ones(size, np.bool_) if mask is None else mask
            if blank.shape != (size,):
                raise ValueError(f"empty argument {key!r} has {size} bytes, got {blank.shape}")
            self.blank[i] = blank
            self.memory.data[start : start + size][blank] = 0xFF
            if self.memory.shadow is not None:
                self.memory.shadow.leave_blank(start, blank)

    def _write_back(self) -> None:
        """Write back only what was written: parts of a launch may run on these arrays elsewhere."""
        memory, shift = self.memory, self.memory.shift

        def touched(kind: str, start: int, stop: int) -> Array:
            assert memory.touched is not None  # global memory keeps it
            return memory.touched[kind][start >> shift : -(-stop >> shift)]

        for i, region in self.first.items():
            read, written = (touched(kind, region.start, region.stop).sum() for kind in "rw")
            self.counters.unique[i] = (int(read) << shift, int(written) << shift)
        for i, data in self.arrays.items():
            start = self.offsets[i]
            written = touched("w", start, start + data.size)
            if not written.any():
                continue
            at = (np.flatnonzero(written) + (start >> shift) << shift)[:, None]
            at = (at + np.arange(1 << shift)).reshape(-1) - start
            at = at[(at >= 0) & (at < data.size)]
            data[at] = memory.data[at + start]
            if i in self.blank:
                self.blank[i][at] = False
