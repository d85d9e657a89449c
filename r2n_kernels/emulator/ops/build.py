"""This file builds most instructions: a function of numbers, applied to registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run
from ..parse import Instruction, vector
from ..types import Array, decode, encode


def elementwise(
    k: Kernel, ins: Instruction, fn: Callable[..., Array], types: Sequence[str], out: str,
    sources: Sequence[str] | None = None,
) -> Run:  # fmt: skip
    """Build dst = fn(sources), lane by lane, with PTX types of sources and result."""
    d, sources = k.dst(ins, ins.operands[0]), sources or ins.operands[1:]
    if len(sources) != len(types):
        raise UnsupportedError(f"{len(sources)} sources in {ins.text}")
    slots = [k.src(o, t) for o, t in zip(sources, types, strict=True)]
    decoders, enc = [decode(t) for t in types], encode(out)
    if len(slots) == 1:
        (s0,), d0 = slots, decoders[0]

        def run(g: Group) -> None:
            g.regs[d] = enc(fn(d0(g.regs[s0])))

    elif len(slots) == 2:
        (s0, s1), (d0, d1) = slots, decoders

        def run(g: Group) -> None:
            g.regs[d] = enc(fn(d0(g.regs[s0]), d1(g.regs[s1])))

    else:
        pairs = list(zip(decoders, slots, strict=True))

        def run(g: Group) -> None:
            g.regs[d] = enc(fn(*[dec(g.regs[s]) for dec, s in pairs]))

    return run


def assign(
    k: Kernel, ins: Instruction, sources: Sequence[str], types: Sequence[str],
    fn: Callable[..., Sequence[Array]],
) -> Run:  # fmt: skip
    """Build (dst, ...) = fn(raw sources), for "d", "d|p" or "{a, b}"; a source may be "!p"."""
    dsts = [
        k.dst_or_sink(ins, d.strip()) for part in vector(ins.operands[0]) for d in part.split("|")
    ]
    slots = [
        (k.src(x.lstrip("!"), t), x.startswith("!")) for x, t in zip(sources, types, strict=False)
    ]

    def run(g: Group) -> None:
        values = fn(*[~g.regs[s] if negated else g.regs[s] for s, negated in slots])
        for d, value in zip(dsts, values, strict=False):
            if d is not None:
                g.regs[d] = value

    return run
