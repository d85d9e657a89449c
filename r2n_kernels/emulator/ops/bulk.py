"""cp.async.bulk copies whole boxes of tensors, or plain bytes, past the registers (sm_90 on)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..batch import RANDOM
from ..bulk_groups import Store
from ..errors import EmulationError, UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run
from ..memory import WINDOW
from ..parse import Instruction, split_operands
from ..tensormaps import BYTES, TYPES, UNIT, Box, box_of
from ..types import LANES, UINT, Array, decode, encode, type_bits
from .atomics import UPDATE
from .mbarrier import barrier_of
from .transfers import Transfer, checked, engine_of, plain, shared_units

Address = Callable[[Group, Array], Array]
RANKS = ("1d", "2d", "3d", "4d", "5d")
ALIGN = {"tensor": 128, "plain": 16}  # of addresses in shared memory
KNOWN = (
    *("async", "bulk", "tensor", "reduce", "global", "shared::cta", "shared::cluster"),
    *("tile", "tile::gather4", "tile::scatter4", "mbarrier::complete_tx::bytes", "bulk_group"),
    *("multicast::cluster", "cta_group::1", "cta_group::2", "L2::cache_hint", "noftz"),
)
REDUCTIONS = {name: UPDATE[name] for name in ("add", "min", "max", "and", "or", "xor")}


def bulk(k: Kernel, ins: Instruction) -> Run:
    modifiers, select = ins.modifiers, k.lanes(ins)
    if "commit_group" in modifiers:
        return lambda g: g.bulks.commit(select(g))
    if "wait_group" in modifiers:
        keep, read = int(ins.operands[0], 0), "read" in modifiers
        return lambda g: g.bulks.wait(g, select(g), keep, read=read)
    if "prefetch" in modifiers:
        return lambda g: None
    if any(m.startswith("im2col") for m in modifiers):
        raise UnsupportedError(f"im2col mode in {ins.text}")
    ins.allow(*KNOWN, *REDUCTIONS, *RANKS)
    k.widths["shared"].add(UNIT)
    spaces = [m for m in modifiers if m == "global" or m.startswith("shared::")]
    if spaces[0] != "global":
        return _load(k, ins, select)
    return _store(k, ins, select)


class Tensor:
    """A Tensor reads "[map, {coordinates}]" of a lane."""

    def __init__(self, k: Kernel, ins: Instruction, text: str) -> None:
        address, coordinates = split_operands(text[1:-1])
        self.ins, self.rank = ins, int(next(m for m in ins.modifiers if m in RANKS)[0])
        self.many = any(m in ("tile::gather4", "tile::scatter4") for m in ins.modifiers)
        self.map = k.src(address, "u64")
        self.at = [k.src(x, "u32") for x in split_operands(coordinates[1:-1])]

    def box(self, g: Group, lane: int, reader: Any, row: int) -> Box:
        """Return the box; `reader`, in a row of its own, reads the tensor map."""
        memory, address = g.launch.memory, g.of_lane(self.map, lane)
        if address % 64:
            raise EmulationError(
                f"{self.ins.source}: a tensor map at {address:#x}, not on 64 bytes"
            )
        off = address - memory.base
        place = int(np.searchsorted(memory.starts, off, "right")) - 1
        if place < 0 or off + BYTES > memory.stops[place]:
            raise EmulationError(f"{self.ins.source}: no tensor map is at {memory.describe(off)}")
        if memory.shadow is not None:
            granules = memory.granules(np.array([off]), BYTES)
            memory.read(reader, self.ins, granules, np.array([row]), np.array([lane % LANES]))
        raw = memory.data[off : off + BYTES]
        at = [int(g.value(s).reshape(-1)[lane].view(np.int32)) for s in self.at]
        if int(raw[8]) + 1 != self.rank:
            raise EmulationError(
                f"{self.ins.source}: a tensor map of rank {raw[8] + 1} in {self.ins.text[:80]}"
            )
        return box_of(raw, at[:1] if self.many else at, rows=at[1:] if self.many else None)


def _load(k: Kernel, ins: Instruction, select: Callable) -> Run:
    """Build a copy into shared memory, of global memory or of another CTA's shared memory."""
    modifiers, operands = ins.modifiers, list(ins.operands)
    is_tensor = "tensor" in modifiers
    if not any(m.startswith("mbarrier::complete_tx") for m in modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    to = k.address(operands[0], "shared")
    from_shared = not is_tensor and sum(m.startswith("shared") for m in modifiers) == 2
    source: Tensor | Address
    if is_tensor:
        source, rest = Tensor(k, ins, operands[1]), operands[2:]
    else:
        source = k.address(operands[1], "shared" if from_shared else "global")
        size, rest = k.src(operands[2], "u32"), operands[3:]
    barrier_at = k.address(rest[0], "shared")
    mask = k.src(rest[1], "u16") if "multicast::cluster" in modifiers else None
    align = ALIGN["tensor" if is_tensor else "plain"]
    in_pairs = "cta_group::2" in modifiers

    def issue(g: Group) -> None:
        for lane in select(g).tolist():
            one, row = np.array([lane]), lane // LANES
            batch, here = g.batch, int(g.cta[row])
            address, barrier = int(to(g, one)[0]), int(barrier_at(g, one)[0])
            targets: list[tuple[int, ...]] = [(address, barrier)]
            if mask is not None:
                targets = batch.multicast(g.of_lane(mask, lane), address, barrier)
                if in_pairs:  # the barrier is in the CTA of a pair that this one's rank names
                    odd = barrier // WINDOW % 2
                    targets = [(a, (b // WINDOW // 2 * 2 + odd) * WINDOW + b % WINDOW)
                               for a, b in targets]  # fmt: skip
            for address, barrier in targets:
                of, local = batch.owner(here, barrier)
                engine = engine_of(batch, local)
                engine.join(g.clock[row], g.proxy[row], np.array([of]))
                engine.show_own()
                memory = batch.shared if from_shared else g.launch.memory
                if isinstance(source, Tensor):
                    box = source.box(g, lane, engine, of)
                else:
                    box = plain(g, ins, lane, int(source(g, one)[0]), g.of_lane(size, lane))
                if from_shared:
                    owner, at = batch.owner(here, int(box.starts[0]))
                    box.starts[0] = at - memory.base + owner * memory.stride
                else:
                    box = checked(g, ins, row, lane % LANES, memory, box)
                units = shared_units(g, ins, row, lane % LANES, address, box, align)
                transfer = Transfer(box, memory, batch.shared, units)
                _begin(g, ins, transfer, engine, of, local)
        g.tick()

    return issue


def _begin(
    g: Group, ins: Instruction, transfer: Transfer, engine: Any, of: int, barrier: int
) -> None:
    """Note a load of the copy engine of CTA `of`, and let it land later."""
    batch = g.batch
    if g.launch.track:
        at = transfer.granules()
        rows = np.full(len(at), of)
        transfer.memory.read(engine, ins, at, rows, np.zeros_like(rows), proxy=True)
        at = transfer.unit_granules()
        rows = np.full(len(at), of)
        batch.shared.write(engine, ins, at, rows, np.zeros_like(rows))
    elif transfer.memory.touched is not None:
        transfer.memory.touched["r"][transfer.granules()] = True
    transfer.count("cp.async.bulk", g.launch.work(g))
    cta = np.array([of])
    arrive = barrier_of(batch, ins, barrier, cta).later(
        cta, engine.clock[cta], engine.proxy[cta], transfer.box.counted
    )
    if g.launch.schedule == RANDOM and g.launch.rng.random() < 0.3:
        transfer.fetch()

    def complete() -> None:
        transfer.load()
        arrive()

    batch.pending.append(complete)


def _store(k: Kernel, ins: Instruction, select: Callable) -> Run:
    """Build a copy or reduction from shared into global memory."""
    modifiers, operands = ins.modifiers, ins.operands
    if "bulk_group" not in modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    is_tensor, source = "tensor" in modifiers, k.address(operands[1], "shared")
    target: Tensor | Address
    if is_tensor:
        target = Tensor(k, ins, operands[0])
    else:
        target, size = k.address(operands[0], "global"), k.src(operands[2], "u32")
    reduction = None
    if modifiers[0] == "reduce":
        reduction = REDUCTIONS[next(m for m in modifiers if m in REDUCTIONS)]
        if not is_tensor:
            k.widths["global"].add(4)
    align = ALIGN["tensor" if is_tensor else "plain"]

    def issue(g: Group) -> None:
        for lane in select(g).tolist():
            one, row, memory = np.array([lane]), lane // LANES, g.launch.memory
            if isinstance(target, Tensor):
                box = target.box(g, lane, g, row)
            else:
                box = plain(g, ins, lane, int(target(g, one)[0]), g.of_lane(size, lane))
            box = checked(g, ins, row, lane % LANES, memory, box)
            address = int(source(g, one)[0])
            units = shared_units(g, ins, row, lane % LANES, address, box, align)
            transfer = Transfer(box, memory, g.batch.shared, units)
            stamp = memory.shadow.new_stamp() if memory.shadow else 0
            apply = transfer.store
            if reduction is not None:
                t = TYPES[box.elemtype] if is_tensor else ins.types[-1]
                apply = _reducer(transfer, t, reduction)
            number = int(g.bulks.committed[row, lane % LANES])
            store = Store(row, lane % LANES, number, transfer, stamp, apply, reduction is None)
            _note_store(g, ins, store)
            g.bulks.flying.append(store)

    return issue


def _note_store(g: Group, ins: Instruction, store: Store) -> None:
    transfer = store.transfer
    kind = "cp.reduce.async.bulk" if not store.orders else "cp.async.bulk store"
    transfer.count(kind, g.launch.work(g))
    at = transfer.granules()
    if g.launch.track:
        units = transfer.unit_granules()
        rows = np.full(len(units), store.row)
        lanes = np.full(len(units), store.lane)
        transfer.shared.read(g, ins, units, rows, lanes, pending=store.stamp, proxy=True)
    if not store.orders:  # like atomics
        for touched in (transfer.memory.touched or {}).values():
            touched[at] = True
    else:
        rows, lanes = np.full(len(at), store.row), np.full(len(at), store.lane)
        transfer.memory.write(g, ins, at, rows, lanes, pending=True)
    if g.launch.schedule == RANDOM and g.launch.rng.random() < 0.3:
        transfer.take()


def _reducer(transfer: Transfer, t: str, fn: Callable[[Array, Array], Array]) -> Callable[[], None]:
    """Return what combines a store's elements, of type t, with those that are there."""
    dec, enc, raw = decode(t), encode(t), UINT[type_bits(t)]
    width = type_bits(t) // 8

    def apply() -> None:
        box = transfer.box
        kept = np.ascontiguousarray(transfer.take()[box.inside, slice(*box.columns)])
        per = box.size // width  # a plain copy is in units of 16 bytes
        at = (transfer.elements()[..., None] * per + np.arange(per)).reshape(len(kept), -1)
        view: Array = transfer.memory.data.view(raw)
        view[at] = enc(fn(dec(view[at]), dec(kept.view(raw))))

    return apply
