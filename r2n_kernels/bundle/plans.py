"""A plan of a bundle: its steps' launches, and ops that make calls of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..kernels.op import Op
from ..plan import Plan, Step
from .manifest import Code
from .ops import Kernel, OpFacts, StoredLaunch


@dataclass(frozen=True)
class StoredPlan:
    """A plan, and the launches of each of its steps: by the input's form for the first, or ""."""

    plan: Plan
    facts: Mapping[str, OpFacts]
    launches: Mapping[str, Mapping[str, Sequence[StoredLaunch]]]

    def ops(self, kernel_of: Callable[[Code], Kernel]) -> Callable[[Step], Op]:
        """Return what gives a step's op, whose launcher makes calls of the stored launches."""
        return lambda step: self.facts[step.op].op(self.launches[step.name], kernel_of)

    @property
    def codes(self) -> dict[Code, str]:
        """Return the code that it launches, each with the first step that does."""
        found: dict[Code, str] = {}
        for step, forms in self.launches.items():
            for launches in forms.values():
                for launch in launches:
                    found.setdefault(launch.code, step)
        return found
