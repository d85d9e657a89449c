"""Every different step of a network's plan, this project's code beside its PyTorch twin.

On a GPU the Triton kernels of a step, as a CUDA graph, and twins that launch operator by operator,
with their launches; on the CPU the torch backend's packed and fused oneDNN convolutions, and the
reference model's modules. A step is timed alone, with all threads; steps that a forward repeats are
timed once and counted.

Their sum is not the time of a forward. On the CPU it is less: a step that is repeated finds its
weights in the cache. On a GPU it may be more: the timer flushes L2 before each step, which in a
forward may find there what the one before wrote, and each is a graph of its own, with its launch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..config import VARIANTS
from ..engine.precision import exact
from ..engine.torch_backend import TorchBackend
from ..engine.torch_network import OPS
from ..fold.torch_layout import CHANNELS_LAST
from ..measure.timing import Samples, captured, current, interleave
from ..plan import Plan, Step, build_plan
from ..proof.parity import eager_model
from ..proof.tolerance import Verdict, judge, oracle_dtype
from .plain_steps import run_plain

TWIN = "PyTorch twin"
SECONDS = 0.05  # a round

Call = Callable[[], object]


@dataclass(frozen=True)
class Kind:
    """A step, how many of a forward pass are like it, and what is timed."""

    step: Step
    count: int
    verdict: Verdict
    ours: Call
    twin: Call
    itemsize: int  # of an activation or weight

    @property
    def bytes(self) -> int:
        """Activations read and written once, and weights."""
        weights = self.step.weights * self.itemsize
        return self.step.bytes_read + self.step.bytes_written + weights


@dataclass(frozen=True)
class StepResult:
    """ours and twin are None where the step's results are wrong."""

    kind: Kind
    ours: Samples | None
    twin: Samples | None
    again: Samples | None


def time_steps(
    model: str, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device,
    backend: str, rounds: int = 7, seconds: float = SECONDS, twice: bool = False,
) -> Iterator[StepResult]:  # fmt: skip
    """backend: "torch" on the CPU or "triton" on a GPU. Kinds come in the order of the network."""
    kinds = triton_kinds if backend == "triton" else torch_kinds
    with torch.no_grad(), exact(device, dtype), current(device):
        for kind in kinds(model, batch, height, width, dtype, device):
            if not kind.verdict.passed:
                yield StepResult(kind, None, None, None)
                continue
            calls = {"ours": kind.ours, TWIN: kind.twin}
            if twice:
                calls["again"] = kind.ours
            timed = interleave(calls, rounds, device=device, seconds=seconds)
            yield StepResult(kind, timed["ours"], timed[TWIN], timed.get("again"))


def torch_kinds(
    model: str, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Iterator[Kind]:
    """Of the torch backend; the head is PyTorch's own in both, and left out."""
    config, reference = VARIANTS[model], eager_model(model, "reference")
    backend = TorchBackend(config, reference.state_dict(), dtype, device)
    compute = backend.compute_dtype  # float32 where a CPU has no bfloat16
    plan = build_plan(config, batch, height, width, compute)
    packed = backend.network.packed_for(plan, batch)
    wide = oracle_dtype(compute)
    truth = copy.deepcopy(reference).to(wide)
    eager = reference.to(device, compute, memory_format=CHANNELS_LAST)
    for step, count in plan.distinct_steps():
        if step.op not in OPS:
            continue
        live = _noise(plan, step, compute, device)
        mine = {name: x.clone() for name, x in live.items()}  # steps may work in place
        convs = packed.convs.get(step.name, ())
        ours = partial(OPS[step.op], convs, step, mine)
        twin = partial(run_plain, eager, step, live)
        expected = run_plain(truth, step, {name: x.to(wide) for name, x in live.items()})
        # In float32 as a whole network: a step is up to seven of oneDNN's convolutions, whose
        # order of sums is its own, and up to 2.5 times less exact than eager's at 14 px.
        verdict = judge(step.name, ours(), [twin()], expected, network=True)
        yield Kind(step, count, verdict, ours, twin, compute.itemsize)


def _noise(plan: Plan, step: Step, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """What the step reads, channels_last, seeded."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(plan.buffers[name].shape, generator=generator)
        .to(device, dtype)
        .contiguous(memory_format=CHANNELS_LAST)
        for name in step.reads
    }


def triton_kinds(
    model: str, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Iterator[Kind]:
    """Of the Triton kernels."""
    from ..engine.triton_target import kernel_target  # here: the torch backend needs no Triton
    from ..kernels.call import launch
    from ..proof.steps import REPEATABLE, cases

    config, target = VARIANTS[model], kernel_target(device)
    plan = build_plan(config, batch, height, width, dtype, "triton", target=target)
    counts = {step.name: count for step, count in plan.distinct_steps()}
    for case in cases(plan, device, only=lambda step: step.name in counts, scale=REPEATABLE):
        count, verdict = counts[case.step.name], case.verdict()
        ours: Call = partial(launch, case.bound.calls())
        if device.type == "cuda":
            ours()
            ours = captured(ours)
        yield Kind(case.step, count, verdict, ours, case.bound.run_twin, dtype.itemsize)
