"""A StepCase is one step of a Triton plan and its PyTorch twin, on the same data.

`cases` makes one for each step of a plan, with seeded random weights and data. A runner is any
function of a step's launches: by default they run on the current device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..engine.kernel_backend import pack
from ..engine.precision import exact
from ..engine.triton_ops import BoundStep, allocate, bind, op_of
from ..fold.triton_layout import PackedConv
from ..kernels.call import Calls, launch
from ..kernels.op import Op
from ..plan import Plan, Step
from ..reference import Res2Net, randomize
from ..reference.twins import images_of
from .tolerance import Verdict, judge, oracle_dtype, worst

Buffers = dict[str, Tensor]
Weights = Mapping[str, PackedConv]
Runner = Callable[[Calls], None]
CPU = torch.device("cpu")
# A scale of weights with which sums stay finite, however often a step runs in place.
REPEATABLE = 2.0**-6


@dataclass(frozen=True, eq=False)
class StepCase:
    """A StepCase is a step with the buffers that it reads and writes, and its weights, if any.

    buffers: for bytes with "scale" and "shift" of their normalisation, too. ops: give a step's op.
    """

    plan: Plan
    step: Step
    buffers: Mapping[str, Tensor]
    weights: PackedConv | None
    ops: Callable[[Step], Op] = op_of

    def run(self, runner: Runner = launch) -> Buffers:
        """Return the buffers after the step's launches, which run on copies."""
        case = self.copied()
        runner(case.bound.calls())
        return dict(case.buffers)

    def twin(self, dtype: torch.dtype | None = None) -> Buffers:
        """Return the buffers after the twin, which runs on copies, by default in their dtype."""
        case = self.copied() if dtype is None else self.copied(lambda t: t.to(dtype, copy=True))
        case.run_twin()
        return dict(case.buffers)

    def verdict(self, runner: Runner = launch) -> Verdict:
        """Return the worst verdict over the buffers that the step writes.

        The kernel's error may be twice the twin's, both against the twin in a wider dtype
        (`r2n_kernels.proof.tolerance`).
        """
        ours, twin = self.run(runner), self.twin()
        truth = self.twin(oracle_dtype(self.plan.dtype))
        names = self.step.writes
        return worst(judge(name, ours[name], [twin[name]], truth[name]) for name in names)

    @property
    def bound(self) -> BoundStep:
        """Bind the step to the buffers themselves: its launches and its twin change them."""
        step, buffers = self.step, self.buffers
        weights = {} if self.weights is None else {step.packed_as: self.weights}
        normalization = (buffers["scale"], buffers["shift"]) if "scale" in buffers else None
        return bind(step, buffers, weights, normalization, op=self.ops(step))

    def run_twin(self) -> None:
        """Run the twin on the buffers themselves, in IEEE arithmetic."""
        device = self.buffers[self.step.reads[0]].device
        with torch.no_grad(), exact(device, torch.float32):
            self.bound.run_twin()

    def copied(self, copy: Callable[[Tensor], Tensor] = Tensor.clone) -> StepCase:
        """Return the case with a copy of each tensor."""
        buffers = {name: copy(tensor) for name, tensor in self.buffers.items()}
        weights = None if self.weights is None else self.weights.changed(copy)
        return dataclasses.replace(self, buffers=buffers, weights=weights)


def cases(
    plan: Plan, device: torch.device = CPU, *, only: Callable[[Step], bool] = lambda _: True,
    images: Tensor | None = None, scale: float = 1.0, ops: Callable[[Step], Op] = op_of,
    weights: Weights | None = None,
) -> Iterator[StepCase]:  # fmt: skip
    """Yield a case for each step that `only` wants, in the order of the plan.

    Each step gets seeded noise of its own; with images [N, Ci, H, W] what the twins of the earlier
    steps made of them. scale: see `random_weights`. ops: give a step's op. weights: in place of
    random ones, as the plan of an int8 network needs them.
    """
    if weights is None:
        weights = random_weights(plan.config, plan.dtype, device, scale)
    if images is None:
        for step in filter(only, plan.steps):
            yield StepCase(plan, step, _noise(plan, step, device), weights.get(step.packed_as), ops)
        return
    # zeros: an element that is never written differs from the twin's
    live = {name: tensor.zero_() for name, tensor in allocate(plan, device).items()}
    live["input"] = images
    last = max((i for i, step in enumerate(plan.steps) if only(step)), default=-1)
    for step in plan.steps[: last + 1]:
        buffers = {name: live[name] for name in (*step.reads, *step.writes)}
        case = StepCase(plan, step, buffers, weights.get(step.packed_as), ops)
        if only(step):
            yield case.copied()
        case.run_twin()


@lru_cache(maxsize=2)
def random_weights(
    config: Res2NetConfig, dtype: torch.dtype, device: torch.device = CPU, scale: float = 1.0
) -> Weights:
    """Pack seeded random weights and BatchNorm statistics, by the names of their steps.

    scale: a factor on them, such as REPEATABLE.
    """
    state = randomize(Res2Net(config).eval()).state_dict()
    _, packed = pack(config, state, dtype)
    return {name: conv.changed(lambda t: t.to(device) * scale) for name, conv in packed.items()}


def _noise(plan: Plan, step: Step, device: torch.device) -> Buffers:
    """Make the step's buffers: noise where it reads, zeros elsewhere, in gaps of planes too."""
    needed = {name: plan.buffers[name] for name in (*step.reads, *step.writes)}
    buffers = allocate(dataclasses.replace(plan, buffers=needed), device)
    if "input" in needed:
        buffers["input"] = torch.empty(needed["input"].shape, dtype=plan.dtype, device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, tensor in buffers.items():
        tensor.zero_()
        if name in step.reads:
            planes = needed[name].planes
            parts = [images_of(p, step.options["layout"]) for p in tensor] if planes else [tensor]
            for part in parts:
                part.normal_(generator=generator)
    return buffers
