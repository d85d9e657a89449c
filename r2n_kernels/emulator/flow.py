"""This file finds where lanes that part meet again: a branch's immediate post-dominator."""

from __future__ import annotations

from collections.abc import Sequence

from .parse import Instruction, Program

ENDS = ("ret", "exit")


def post_dominators(program: Program) -> list[int]:
    """Return the next instruction that every way on from each one passes; their number if none."""
    end = len(program.instructions)
    after = [_successors(program, ins) for ins in program.instructions]
    order = _backwards(after, end)
    rank = {node: place for place, node in enumerate(order)}
    found = {end: end}

    def common(a: int, b: int) -> int:
        while a != b:
            if rank[a] < rank[b]:
                b = found[b]
            else:
                a = found[a]
        return a

    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            new: int | None = None
            for other in after[node]:
                if other in found:
                    new = other if new is None else common(new, other)
            assert new is not None  # `order` leads there from one of them
            if found.get(node) != new:
                found[node], changed = new, True
    return [found.get(node, end) for node in range(end)]


def _successors(program: Program, ins: Instruction) -> Sequence[int]:
    """Return what may come after an instruction; nothing after one that stops the kernel."""
    following = ins.index + 1
    if ins.base == "bra":
        target = program.target(ins, ins.operands[0])
        return (target,) if ins.pred is None else (target, following)
    if ins.base == "brx":
        return program.targets(ins, ins.operands[1])
    if ins.base in ENDS:
        end = len(program.instructions)
        return (end,) if ins.pred is None else (end, following)
    stops = ins.base == "trap" or "__assertfail" in ins.operands
    return () if stops and ins.pred is None else (following,)


def _backwards(after: Sequence[Sequence[int]], end: int) -> list[int]:
    """Return what leads to the end in reverse post-order of the reversed graph, the end first."""
    before: list[list[int]] = [[] for _ in range(end + 1)]
    for node, others in enumerate(after):
        for other in others:
            before[other].append(node)
    order, seen = [], {end}
    stack = [(end, iter(before[end]))]
    while stack:
        node, rest = stack[-1]
        fresh = next((other for other in rest if other not in seen), None)
        if fresh is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(fresh)
            stack.append((fresh, iter(before[fresh])))
    return order[::-1]
