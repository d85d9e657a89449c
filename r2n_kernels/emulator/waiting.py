"""This file finds programs that wait for each other, and says who waits for whom and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from .group import Group
from .parse import base_of
from .types import Array

if TYPE_CHECKING:
    from .batch import Batch
    from .kernel import Kernel
    from .parse import Instruction

NAMED = 4  # groups that a message names
Poll = tuple["Instruction", Callable[[Group, Array], Array]]  # a load, and its addresses


def polls(k: Kernel, branch: Instruction, target: int) -> list[Poll]:
    """Return the loads and atomics of global memory whose address a loop does not change.

    A loop that has one may wait for what another program does.
    """
    if target > branch.index:
        return []
    loop = k.program.instructions[target : branch.index]
    changed = {slot for ins in loop for slot in ins.destinations}
    found: list[Poll] = []
    for ins in loop:
        text = next((o for o in ins.operands if o.startswith("[")), None)
        reads = ins.base in ("ld", "atom") and "global" in ins.modifiers
        if text is None or not reads or "nc" in ins.modifiers:
            continue
        slot = k.slots.get(base_of(text) or "")
        if slot is not None and slot not in changed:
            found.append((ins, k.address(text, "global")))
    return found


def state(groups: Iterable[Group]) -> list[tuple[Group, int, list[Array]]]:
    """Return all that decides what groups do next, but for memory."""
    return [(g, g.pc, list(g.regs)) for g in groups]


def same_state(a: list[tuple[Group, int, list[Array]]], b: list) -> bool:
    """Return whether nothing changed between two states."""
    if [(g, pc) for g, pc, _ in a] != [(g, pc) for g, pc, _ in b]:
        return False
    return all(
        x is y or np.array_equal(x, y)
        for (_, _, old), (_, _, new) in zip(a, b, strict=True)
        for x, y in zip(old, new, strict=True)
    )


def who(batch: Batch, g: Group) -> str:
    """Return "CTA (0, 0, 0) warps 0-3", with lanes where some are missing."""
    launch = batch.launch
    ctas = [launch.place(int(number)) for number in np.unique(batch.places[g.cta])]
    text = f"CTA {ctas[0]}" if len(ctas) == 1 else f"CTAs {ctas[0]} to {ctas[-1]}"
    text += f" warps {spans(np.unique(g.warp))}"
    if g.mask is not None:
        text += f" lanes {spans(np.flatnonzero(g.mask.any(0)))}"
    return text


def spans(numbers: Array) -> str:
    """Return "0-3, 7"."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs if len(r))


def explain(batches: Iterable[Batch]) -> str:
    """Return who waits where, and for what."""
    texts = [_one(batch, g) for batch in batches for g in batch.groups]
    more = f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return "; ".join(texts[:NAMED]) + more


def _one(batch: Batch, g: Group) -> str:
    code, name = batch.launch.kernel.program.instructions, who(batch, g)
    number = next((n for n, waiting in batch.barriers.items() if g in waiting), None)
    at = code[min(max(g.pc - (number is not None), 0), len(code) - 1)]
    if number is not None:
        return f"{name} wait in {at.source} at barrier {number} ({at.text}){_absent(batch, g)}"
    if g in batch.parts.meeting:
        missing = _missing_lanes(batch, g)
        return f"{name} wait in {at.source} for lanes {missing} of their warps ({at.text})"
    for address, barrier in batch.state.get("mbarriers", {}).items():
        if g in barrier.waiting:
            cta = g.cta[0]
            off = f"byte {address - batch.shared.base} of shared memory"
            counts = f"{barrier.missing[cta]} of {barrier.count[cta]} arrivals missing"
            return (
                f"{name} wait in {at.source} for the mbarrier at {off}, {counts} in phase "
                f"{barrier.phase[cta]} ({at.text})"
            )
    cluster = batch.state.get("cluster barrier")
    if cluster is not None and g in cluster.waiting:
        size = batch.launch.kernel.cluster * batch.launch.kernel.num_warps
        arrived = cluster.arrived[g.cta[0] // batch.launch.kernel.cluster]
        return f"{name} wait in {at.source} for their cluster, {arrived} of {size} warps arrived"
    if g.polling:
        return f"{name} poll {', '.join(_polled(batch, g, *poll) for poll in g.polling[:2])}"
    return f"{name} are in {at.source} ({at.text})"


def _polled(batch: Batch, g: Group, ins: Instruction, address: Callable) -> str:
    memory = batch.launch.memory
    off = int(address(g, g.leaders[:1])[0]) - memory.base
    return f"{memory.describe(off)} in {ins.source} ({ins.text})"


def _absent(batch: Batch, g: Group) -> str:
    """Return which warps of the group's first CTA are elsewhere."""
    cta, groups = g.cta[0], batch.groups
    here = {int(w) for u in groups for w, c in zip(u.warp, u.cta, strict=True) if c == cta}
    waiting = {int(w) for ws in batch.barriers.values() for u in ws
               for w, c in zip(u.warp, u.cta, strict=True) if c == cta}  # fmt: skip
    ended = np.array(sorted(set(range(batch.launch.kernel.num_warps)) - here))
    others = np.array(sorted(here - waiting))
    text = f", for warps {spans(others)}" if len(others) else ""
    return text + (f"; warps {spans(ended)} have ended" if len(ended) else "")


def _missing_lanes(batch: Batch, g: Group) -> str:
    row = int(np.argmin(g.lanes.all(axis=1)))
    gone = batch.parts.gone[g.cta[row] * batch.launch.kernel.num_warps + g.warp[row]]
    rest = ~g.lanes[row]
    text = spans(np.flatnonzero(rest)) if rest.any() else "0-0"
    lost = gone & rest
    return text + (f" ({spans(np.flatnonzero(lost))} have ended)" if lost.any() else "")
