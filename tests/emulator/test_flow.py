"""Post-dominators, against their definition: what stays on every way to the end."""

from __future__ import annotations

import random

import pytest

from r2n_kernels.emulator.flow import post_dominators
from r2n_kernels.emulator.parse import parse


def ways_on(program, ins) -> list[int]:
    target = [program.target(ins, ins.operands[0])] if ins.base == "bra" else []
    stops = ins.base in ("ret", "bra") and ins.pred is None
    ends = [len(program.instructions)] if ins.base == "ret" else []
    return [*target, *ends, *([] if stops else [ins.index + 1])]


def reaches_end(program, start: int, without: int) -> bool:
    end, seen, todo = len(program.instructions), set(), [start]
    while todo:
        node = todo.pop()
        if node == end:
            return True
        if node not in seen and node != without:
            seen.add(node)
            todo += ways_on(program, program.instructions[node])
    return False


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed):
    rng = random.Random(seed)
    body = ""
    for block in range(8):
        body += f"b{block}: mov.u32 %r1, 0; "
        body += rng.choice(["", "@%p1 ret;", f"@%p1 bra b{rng.randrange(8)};"])
        body += rng.choice(["", "", "ret;", f"bra b{rng.randrange(8)};"])
    program = parse(f".entry t() {{ .reg .pred %p<2>; .reg .b32 %r<2>; {body} ret; }}")
    end, found = len(program.instructions), post_dominators(program)
    for node in range(end):
        if not reaches_end(program, node, -1):
            continue
        on_all = {n for n in range(end) if n != node and not reaches_end(program, node, n)}
        if found[node] == end:
            assert not on_all
        else:  # the first of them: all others come after it
            assert found[node] in on_all
            assert all(not reaches_end(program, found[node], n) for n in on_all - {found[node]})


def test_a_trap_is_no_way_to_the_end():
    program = parse(
        ".entry t() { .reg .pred %p<2>; @%p1 bra bad; bra.uni on; bad: trap; on: ret; }"
    )
    assert post_dominators(program)[0] == 1
