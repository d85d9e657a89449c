"""An Access is what one instruction reads or writes; it knows how to tell what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .clocks import PENDING, Agents
from .types import LANES, Array

if TYPE_CHECKING:
    from .memory import Memory
    from .parse import Instruction
    from .races import Shadow


@dataclass
class Access:
    """An Access is of granules `at` [n, k], by rows [n] of `who` and lanes [n] of those warps."""

    memory: Memory
    who: Agents
    ins: Instruction
    at: Array
    rows: Array
    lane: Array

    @property
    def block(self) -> Array:
        """Return who accesses, as [n, 1] to go with `at`."""
        return self.who.block[self.rows][:, None]

    @property
    def thread(self) -> Array:
        return (self.who.agent[self.rows] * LANES + self.lane)[:, None]

    def tell(self, kind: str, bad: Array, text: str) -> None:
        """Report accesses where `bad` [n, k] holds. text: of the first; "{where}" is its place."""
        i, j = np.argwhere(bad)[0]
        where = self.memory.describe(int(self.at[i, j]) << self.memory.shift)
        text = f"{text.format(where=where)}, {bad.sum()} granules"
        self.memory.launch.report(kind, self.who, self.ins, self.rows[i], self.lane[i], text)

    def tell_race(self, shadow: Shadow, bad: Array, text: str, kind: str = "race") -> None:
        """Report a race within a CTA, and who wrote last."""
        place, writer = self.at[tuple(np.argwhere(bad)[0])], "never written"
        if shadow.windex[place]:
            number, thread = divmod(int(shadow.wthread[place]), LANES)
            kernel = self.memory.launch.kernel
            last = kernel.program.instructions[shadow.windex[place] - 1]
            rank, warp = divmod(number, kernel.agents)
            agent = f"warp {warp} lane {thread}"
            if warp >= kernel.num_warps:
                agent = "TMA" if last.base == "cp" else "the tensor core"
            agent += f" of CTA {rank} of the cluster" if kernel.cluster > 1 else ""
            writer = f"last written by {agent} in {last.source} ({_plain(last.text[:60])})"
        if shadow.wclock[place] >= PENDING:
            writer += ", still in flight"
        self.tell(kind, bad, f"{text}: {{where}}, {writer}")

    def tell_meeting(
        self, bad: Array, others: Array, mine: str, theirs: str, kind: str = "race"
    ) -> None:
        """Report where another CTA, of blocks `others` [n, k], accesses the same."""
        if not bad.any():
            return
        block = others[tuple(np.argwhere(bad)[0])]
        one = "CTA" if self.memory.launch.kernel.cluster == 1 else "cluster"
        by = f"several {one}s" if block < 0 else f"{one} number {block - 1}"
        end = "and nothing orders the two" if kind == "race" else "with the same value"
        self.tell(kind, bad, f"{mine} of {{where}}, also {theirs} by {by}, {end}")


def _plain(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
