"""One step of a plan, by its kernel and by its PyTorch twin, on the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...engine.precision import exact
from ...engine.triton_ops import allocate, bind
from ...fold.triton_layout import PackedConv
from ...kernels.call import Calls, launch
from ...plan import Plan, Step
from ...reference.twins import images_of
from ..tolerance import Verdict, judge, oracle_dtype

Buffers = dict[str, Tensor]
Weights = Mapping[str, PackedConv]


def random_buffers(plan: Plan, step: Step, device: torch.device) -> Buffers:
    """The step's buffers: seeded noise where it reads, zeros elsewhere, gaps of planes included."""
    names = dict.fromkeys((*step.reads, *step.writes))
    needed = {name: plan.buffers[name] for name in names}
    buffers = allocate(dataclasses.replace(plan, buffers=needed), device)
    if "input" in needed:
        buffers["input"] = torch.zeros(needed["input"].shape, dtype=plan.dtype, device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, tensor in buffers.items():
        tensor.zero_()
        if name not in step.reads:
            continue
        parts = [tensor]
        if needed[name].planes:
            parts = [images_of(plane, step.options["layout"]) for plane in tensor]
        for part in parts:
            part.normal_(generator=generator)
    return buffers


@torch.no_grad()
def run_twin(step: Step, buffers: Buffers, weights: Weights) -> None:
    """On the buffers themselves, in IEEE arithmetic."""
    with exact(buffers[step.reads[0]].device, torch.float32):
        bind(step, buffers, weights).run_twin()


def against_twin(
    step: Step, buffers: Buffers, weights: Weights, dtype: torch.dtype,
    launch: Callable[[Calls], None] = launch,
) -> Verdict:  # fmt: skip
    """The worst verdict over what the step writes; `buffers`, in `dtype`, stay as they are.

    The kernel's error may be twice that of its twin in `dtype`, both against the twin in a wider
    one (`r2n_kernels.proof.tolerance`). launch: runs the step's launches, on the device by default.
    """
    wide = oracle_dtype(dtype)
    names = dict.fromkeys((*step.reads, *step.writes))
    ours, twin = ({name: buffers[name].clone() for name in names} for _ in range(2))
    truth = {name: buffers[name].to(wide, copy=True) for name in names}
    launch(bind(step, ours, weights).calls())
    run_twin(step, twin, weights)
    run_twin(step, truth, {name: _to(w, wide) for name, w in weights.items() if name == step.name})
    verdicts = [judge(name, ours[name], [twin[name]], truth[name]) for name in step.writes]
    return max(verdicts, key=severity)


def severity(verdict: Verdict) -> float:
    """Error over limit: above 1 it failed; NaN counts as worst."""
    ratio = verdict.error / verdict.limit
    return ratio if ratio == ratio else float("inf")


def _to(conv: PackedConv, dtype: torch.dtype) -> PackedConv:
    shortcut = None if conv.shortcut is None else conv.shortcut.to(dtype)
    return PackedConv(conv.weight.to(dtype), conv.bias, shortcut)
