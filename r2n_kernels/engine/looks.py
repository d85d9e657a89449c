"""Few looks at a forward pass tell, when it has run, that nothing overflowed and nothing was NaN.

`overflow` bounds what each part makes of its input. From a value that was looked at and is small
enough, the bounds of the parts behind it hold up to the next look: if all looks are within their
limits, no sum on the way was too large, and no NaN could be made that a fused ReLU would hide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .overflow import LIMIT, Growth, Line

ROOM = 1e6  # a look allows at least this much where it can: real activations are far below


class Look(NamedTuple):
    """A Look is at what a step reads, whose largest magnitude must not pass a limit."""

    step: str
    limit: float


def looks(growths: Mapping[str, Growth]) -> tuple[Look, ...]:
    """Place as few looks as may be, the first at the network's input; `growths` are in order."""
    found: list[Look] = []
    sofar = Line(1.0, 0.0)  # of the values since the last look
    for step, growth in growths.items():
        limit = _limit(_after(growth.inside, sofar))
        if not found or limit < ROOM:
            sofar, limit = Line(1.0, 0.0), _limit(growth.inside)
            found.append(Look(step, limit))
        else:
            found[-1] = Look(found[-1].step, min(found[-1].limit, limit))
        sofar = _after(growth.output, sofar)
    return tuple(found)


def _after(second: Line, first: Line) -> Line:
    return Line(second.gain * first.gain, second.at(first.offset))


def _limit(line: Line) -> float:
    """Return the largest input that keeps within LIMIT; negative where none does."""
    if not line.offset <= LIMIT:
        return -1.0
    return (LIMIT - line.offset) / line.gain if line.gain else LIMIT
