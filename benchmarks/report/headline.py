"""The page's first sentence says how fast this project is beside its peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..records import Record
from ..runs import grouped, is_peer, moment
from .beside import Beside, speedup
from .data import rate
from .text import Names, amount, commit, processor


@dataclass(frozen=True)
class Headline:
    lead: str
    rest: str


@dataclass(frozen=True)
class _Case:
    """A case is one batch size of the headline: records that were timed together."""

    ours: Record
    base: Record | None
    fastest: Record | None  # of the peers


def headline(besides: Sequence[Beside], names: Names) -> Headline | None:
    """Return the sentence about the network that was timed last; None where none of ours was."""
    by_network = grouped(besides, lambda b: b.where._replace(batch=0))
    networks = [
        (where, cases) for where, same in by_network.items() if (cases := list(_cases(same)))
    ]
    if not networks:
        return None
    where, cases = max(networks, key=lambda found: max(moment(case.ours) for case in found[1]))
    ours, batches = cases[-1].ours, ", ".join(str(case.ours.batch) for case in cases)
    setting = f"{names.heading(where)} ({processor(ours)}), batch {batches}"
    rest = f"{names.subject(ours)}, commit {commit(ours)}, {moment(ours):%Y-%m-%d}: {setting}."
    pairs = [(case.ours, case.base) for case in cases if case.base]
    if not pairs:
        rates = _span([rate(case.ours) for case in cases])
        return Headline(f"{rates} images per second", f"{rest} No peer was timed beside it.")
    lead = f"{_over(pairs)} as fast as {names.subject(pairs[0][1])}"
    best = [(case.ours, case.fastest) for case in cases if case.fastest]
    fastest = dict.fromkeys(names.subject(peer) for _, peer in best)
    rest += f" Beside the fastest peer of each batch ({', '.join(fastest)}): {_over(best)}."
    return Headline(lead, rest)


def _cases(besides: Sequence[Beside]) -> Iterator[_Case]:
    """Yield the newest of each batch size, and our fastest subject of it."""
    for beside in sorted(besides, key=lambda b: b.where.batch):
        slot = beside.latest()
        ours = max((r for r in slot if not is_peer(r)), key=rate, default=None)
        if ours:
            peers = [r for r in slot if is_peer(r)]
            yield _Case(ours, beside.base_of(slot), max(peers, key=rate, default=None))


def _over(pairs: Sequence[tuple[Record, Record]]) -> str:
    return _span([speedup(ours, peer) for ours, peer in pairs], "{:.2f}x".format)


def _span(values: Sequence[float], write: Callable[[float], str] = amount) -> str:
    """Write the least and the greatest, or the one that there is."""
    return " to ".join(dict.fromkeys(map(write, (min(values), max(values)))))
