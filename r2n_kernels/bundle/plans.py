"""A plan of a bundle has its steps' launches, and ops that make calls of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ..config import EXPANSION
from ..features import FeatureInfo
from ..kernels.layout import pad_channels
from ..kernels.op import Op
from ..plan import Plan, Step
from ..plan.types import out_size
from .manifest import Code
from .ops import FORMS, Kernel, OpFacts, StoredLaunch

MARGIN = 64  # pixels, more than any layout has as gaps below or beside an image
NORMALIZATION = {"scale", "shift"}  # what the first step's launcher gets beside a plan's tensors


@dataclass(frozen=True)
class StoredPlan:
    """StoredPlan has a plan, and each step's launches: by the input's form for the first, or ""."""

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

    def check(self, target: str) -> None:
        """Raise ValueError or KeyError for a plan that cannot be run, or not on this target."""
        for code in self.codes:
            if code.target != target:
                raise ValueError(f"{code.entry} is for {code.target}")
        if not self.plan.steps or len(self.launches) != len(self.plan.steps):
            raise ValueError("it has no steps, or two of one name")
        for place, step in enumerate(self.plan.steps):
            self._check_step(step, FORMS if place == 0 else ("",))
        check_buffers(self.plan)

    def _check_step(self, step: Step, forms: Sequence[str]) -> None:
        facts, launches = self.facts[step.op], self.launches[step.name]
        if set(launches) != set(forms) or not all(launches.values()):
            raise ValueError(f"step {step.name} has launches for {sorted(launches)}")
        tensors = (*facts.reads, *facts.writes, *facts.weights)
        if (len(step.reads), len(step.writes)) != (len(facts.reads), len(facts.writes)):
            raise ValueError(f"step {step.name} has other tensors than its op")
        if step.aside and step.aside not in {main.name for main in self.plan.main}:
            raise ValueError(f"step {step.name} is aside of {step.aside}, no main step")
        if not step.reads or step.options.keys() & {*tensors, *NORMALIZATION}:
            raise ValueError(f"step {step.name} reads nothing, or a tensor is an option")
        known = self.plan.buffers.keys()
        if ("input" in step.reads) != ("" not in forms) or not known >= {*step.reads, *step.writes}:
            raise ValueError(f"step {step.name} is not bound to its buffers")


def check_buffers(plan: Plan) -> None:
    """Raise ValueError or KeyError for buffers that are too large, or not what a network gives."""
    room = plan.batch * (plan.height + MARGIN) * (plan.width + MARGIN) * _channels(plan)
    for buffer in plan.buffers.values():
        if len(buffer.shape) != 3 if buffer.planes else len(buffer.shape) not in (2, 4):
            raise ValueError(f"buffer {buffer.name} has the shape {buffer.shape}")
        if prod(buffer.shape) > room:
            raise ValueError(f"buffer {buffer.name} is too large: {buffer.shape}")
    known = {"input", *(name for step in plan.steps for name in step.writes)}
    for name, shape in _outputs(plan):
        found = plan.buffers[name].shape
        if found != shape or name not in known:
            raise ValueError(f"buffer {name} has the shape {found}, expected {shape}")


def _channels(plan: Plan) -> int:
    """Return a number of channels that no buffer exceeds."""
    config = plan.config
    splits = (config.scale * pad_channels(config.width(i)) for i in range(len(config.planes)))
    every = EXPANSION * max(config.planes), config.stem_channels, pad_channels(config.in_chans)
    return max(*every, *splits, config.num_classes)


def _outputs(plan: Plan) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the buffers that others than the steps read, and their shapes."""
    config, batch = plan.config, plan.batch
    yield "input", (batch, config.in_chans, plan.height, plan.width)
    for name, info in zip(plan.features, FeatureInfo(config), strict=True):
        height, width = (out_size(n, info["reduction"]) for n in (plan.height, plan.width))
        yield name, (batch, info["num_chs"], height, width)
    yield "embedding", (batch, config.num_features)
    if config.num_classes:
        yield "logits", (batch, config.num_classes)
