"""Every different step of a network's plan is timed beside its PyTorch twin.

On a GPU the Triton kernels of a step run as a CUDA graph, its twin operator by operator, launches
included; on the CPU the torch backend's packed and fused oneDNN convolutions run, and the
reference model's modules. A step is timed alone, with all threads; steps that a forward repeats are
timed once and counted.

Their sum is not the time of a forward. On the CPU it is less: a step that is repeated finds its
weights in the cache. On a GPU it may be more: the timer flushes L2 before each step, which in a
forward may find there what the one before wrote, and each is a graph of its own, with its launch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

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
from ..reference import Res2Net

TWIN = "PyTorch twin"
SECONDS = 0.05  # per round

Call = Callable[[], object]


@dataclass(frozen=True)
class StepPair:
    """A StepPair has a step and its twin, ready to time, and how many of a forward are like it."""

    step: Step
    count: int
    verdict: Verdict
    ours: Call
    twin: Call


@dataclass(frozen=True)
class StepResult:
    """A StepResult has times of a step and its twin; None where the step's results are wrong."""

    step: Step
    count: int
    verdict: Verdict
    ours: Samples | None
    twin: Samples | None
    again: Samples | None

    @property
    def bytes(self) -> int:
        """Return bytes of activations, read and written once, and of weights."""
        weights = self.step.weights * self.verdict.dtype.itemsize
        return self.step.bytes_read + self.step.bytes_written + weights


def time_steps(
    model: str, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device,
    backend: str, rounds: int = 7, seconds: float = SECONDS, twice: bool = False,
) -> Iterator[StepResult]:  # fmt: skip
    """Time distinct steps in the order of the network.

    backend: "torch" on the CPU or "triton" on a GPU.
    """
    pairs = triton_pairs if backend == "triton" else torch_pairs
    with torch.no_grad(), exact(device, dtype), current(device):
        for pair in pairs(model, batch, height, width, dtype, device):
            timed: Mapping[str, Samples] = {}
            if pair.verdict.passed:
                calls = {"ours": pair.ours, "twin": pair.twin}
                calls |= {"again": pair.ours} if twice else {}
                timed = interleave(calls, rounds, device=device, seconds=seconds)
            times = (timed.get(name) for name in ("ours", "twin", "again"))
            yield StepResult(pair.step, pair.count, pair.verdict, *times)


def torch_pairs(
    model: str, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Iterator[StepPair]:
    """Pair steps of the torch backend with the reference model's modules.

    The head is PyTorch's own in both, and left out.
    """
    config, reference = VARIANTS[model], cast(Res2Net, eager_model(model, "reference"))
    backend = TorchBackend(config, reference.state_dict(), dtype, device)
    compute = backend.compute_dtype  # float32 where a CPU has no bfloat16
    plan = build_plan(config, batch, height, width, compute)
    packed = backend.network.packed_for(plan, batch)
    wide = oracle_dtype(compute)
    truth = copy.deepcopy(reference).to(wide)
    eager = reference.to(device, compute).to(memory_format=CHANNELS_LAST)
    for step, count in plan.distinct_steps():
        if step.op not in OPS:
            continue
        live = _noise(plan, step, compute, device)
        mine = {name: x.clone() for name, x in live.items()}  # steps may work in place
        convs = packed.convs.get(step.name, ())
        ours = partial(OPS[step.op], convs, step, mine)
        twin = partial(run_modules, eager, step, live)
        expected = run_modules(truth, step, {name: x.to(wide) for name, x in live.items()})
        # In float32 as a whole network: a step is up to seven of oneDNN's convolutions, whose
        # order of sums is its own, and up to 2.5 times less exact than eager's at 14 px.
        verdict = judge(step.name, ours(), [twin()], expected, network=True)
        yield StepPair(step, count, verdict, ours, twin)


def run_modules(model: Res2Net, step: Step, live: Mapping[str, Tensor]) -> Tensor:
    """Run a step of the torch plan by the reference model's modules, which leave its inputs."""
    x = live[step.reads[0]]
    if step.op == "conv":
        return _stem(model, step.name, x)
    if step.op == "maxpool":
        return model.maxpool(x)
    block: Any = model.get_submodule(step.name.rpartition(".")[0])
    if step.op == "conv1":
        return block.relu(block.bn1(block.conv1(x)))
    if step.op == "shortcut":
        return block.downsample(x)
    if step.op == "conv3":
        return block.relu(block.bn3(block.conv3(x)) + live[step.reads[1]])
    return block.hierarchy(x)


def _stem(model: Res2Net, name: str, x: Tensor) -> Tensor:
    """Run a convolution of the stem: "conv1", or "conv1.0", "conv1.3", "conv1.6" of a deep one."""
    convs: Any = model.conv1
    first = name.partition(".")[2]
    if first in ("", "6"):
        return model.act1(model.bn1(model.get_submodule(name)(x)))
    return convs[int(first) : int(first) + 3](x)


def _noise(plan: Plan, step: Step, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Make what the step reads, channels_last, seeded."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(plan.buffers[name].shape, generator=generator)
        .to(device, dtype)
        .contiguous(memory_format=CHANNELS_LAST)
        for name in step.reads
    }


def triton_pairs(
    model: str, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Iterator[StepPair]:
    """Pair steps of the Triton kernels with their twins."""
    from ..engine.triton_target import kernel_target  # here: the torch backend needs no Triton
    from ..kernels.call import launch
    from ..proof.steps import REPEATABLE, cases

    config, target = VARIANTS[model], kernel_target(device)
    plan = build_plan(config, batch, height, width, dtype, "triton", target=target)
    counts = {step.name: count for step, count in plan.distinct_steps() if not step.aside}
    for case in cases(plan, device, only=lambda step: step.name in counts, scale=REPEATABLE):
        verdict = case.verdict()
        ours: Call = partial(launch, case.bound.calls())
        if device.type == "cuda":
            ours()
            ours = captured(ours)
        yield StepPair(case.step, counts[case.step.name], verdict, ours, case.bound.run_twin)
