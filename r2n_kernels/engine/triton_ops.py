"""A plan's steps bound to tensors: what each kernel, and its PyTorch twin, is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..fold.triton_layout import PackedConv
from ..kernels.avgpool import avgpool
from ..kernels.call import Calls
from ..kernels.conv import conv
from ..kernels.conv1 import conv1
from ..kernels.conv3 import conv3, conv3_project
from ..kernels.first_stage import first_stage
from ..kernels.global_pool import global_pool
from ..kernels.linear import linear
from ..kernels.maxpool import maxpool
from ..kernels.prepare import prepare
from ..kernels.stage import stage
from ..plan import Buffer, Plan, Step
from ..reference import twins
from .backend import Normalization

# op -> its launcher, and its tensors in order: the step's reads and writes, w, b, ws its weights
OPS = {
    "prepare": (prepare, ("x", "image")),
    "conv": (conv, ("x", "out", "w", "b")),
    "maxpool": (maxpool, ("x", "out")),
    "conv1": (conv1, ("x", "planes", "y", "w", "b")),
    "stage": (stage, ("planes", "planes", "y", "w", "b")),
    "first_stage": (first_stage, ("planes", "y", "w", "b")),
    "conv3": (conv3, ("y", "x", "out", "w", "b")),
    "conv3_project": (conv3_project, ("y", "x", "out", "w", "b", "ws")),
    "avgpool": (avgpool, ("x", "out")),
    "global_pool": (global_pool, ("x", "out")),
    "linear": (linear, ("x", "out", "w", "b")),
}
ONLY_KERNELS = ("tile", "chained", "block_ks")  # options that change how, not what


@dataclass(frozen=True)
class Bound:
    """A step with its tensors by the names of its launcher's parameters."""

    step: Step
    tensors: Mapping[str, Tensor | None]

    def calls(self) -> Calls:
        return OPS[self.step.op][0](**self.tensors, **self.step.options)

    def run_twin(self) -> None:
        """The same on the same tensors in plain PyTorch."""
        options = {k: v for k, v in self.step.options.items() if k not in ONLY_KERNELS}
        getattr(twins, self.step.op)(**self.tensors, **options)


def bind(
    step: Step, buffers: Mapping[str, Tensor], weights: Mapping[str, PackedConv],
    normalization: Normalization | None = None,
) -> Bound:  # fmt: skip
    """`buffers` by name, "input" as the user gave it; `weights` by the name of their step."""
    given = [buffers[name] for name in (*step.reads, *step.writes)]
    packed = weights.get(step.name)
    if packed is not None:
        given += [packed.weight, packed.bias, packed.shortcut]
    tensors: dict[str, Any] = dict(zip(OPS[step.op][1], given, strict=False))
    if step.op == "prepare":
        tensors["scale"], tensors["shift"] = normalization or (None, None)
    return Bound(step, tensors)


def allocate(plan: Plan, device: torch.device) -> dict[str, Tensor]:
    """Every buffer but the input, as the kernels see it: rows of channels, planes zeroed."""
    return {
        name: torch.zeros(buffer.shape, dtype=plan.dtype, device=device)
        if buffer.planes
        else torch.empty(_rows(buffer), dtype=plan.dtype, device=device)
        for name, buffer in plan.buffers.items()
        if name != "input"
    }


def output(plan: Plan, name: str, buffers: Mapping[str, Tensor]) -> Tensor:
    """A copy of a buffer in its logical shape: [N, C, H, W], channels_last, or [N, C]."""
    shape = plan.buffers[name].shape
    if len(shape) == 2:
        return buffers[name].clone()
    n, c, h, w = shape
    return buffers[name].view(n, h, w, c).permute(0, 3, 1, 2).clone()


def _rows(buffer: Buffer) -> Sequence[int]:
    """[N, C, H, W] -> [N * H * W, C]."""
    if len(buffer.shape) == 2:
        return buffer.shape
    n, c, h, w = buffer.shape
    return (n * h * w, c)
