"""A plan's steps are bound to tensors here: each kernel and its twin are called with the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..fold.triton_layout import PackedConv
from ..kernels.call import Calls
from ..kernels.op import Op, all_ops
from ..plan import Buffer, Plan, Step
from ..reference import twins
from .backend import Normalization


@dataclass(frozen=True)
class BoundStep:
    """A step has its tensors here by the names of its launcher's parameters."""

    step: Step
    op: Op
    tensors: Mapping[str, Tensor | None]

    def calls(self) -> Calls:
        return self.op.launcher(**self.tensors, **self.step.options)

    def run_twin(self) -> None:
        """Do the same on the same tensors in plain PyTorch."""
        options = self.op.twin_options(self.step.options)
        getattr(twins, self.step.op)(**self.tensors, **options)


def op_of(step: Step) -> Op:
    """Return the op that a step is of, whose kernel Triton compiles."""
    return all_ops()[step.op]


def bind(
    step: Step, buffers: Mapping[str, Tensor], weights: Mapping[str, PackedConv],
    normalization: Normalization | None = None, *, op: Op | None = None,
) -> BoundStep:  # fmt: skip
    """Bind a step to `buffers` by name, "input" as the user gave it, and `weights` by step.

    op: used in place of `op_of`'s.
    """
    op = op or op_of(step)
    given: list[Tensor | None] = [buffers[name] for name in (*step.reads, *step.writes)]
    packed = weights.get(step.packed_as)
    if packed is not None:
        given += [packed.weight, packed.bias, packed.shortcut]
    tensors: dict[str, Any] = dict(zip(op.tensors, given, strict=False))
    if step.op == "prepare":
        tensors["scale"], tensors["shift"] = normalization or (None, None)
    return BoundStep(step, op, tensors)


def allocate(
    plan: Plan, device: torch.device, some: Iterable[Buffer] | None = None
) -> dict[str, Tensor]:
    """Make every buffer but the input as the kernels see it: rows of channels, planes zeroed.

    some: of these alone.
    """
    return {
        buffer.name: torch.zeros(buffer.shape, dtype=_dtype(plan, buffer), device=device)
        if buffer.planes
        else torch.empty(_rows(buffer), dtype=_dtype(plan, buffer), device=device)
        for buffer in (plan.buffers.values() if some is None else some)
        if buffer.name != "input"
    }


def output(plan: Plan, name: str, buffers: Mapping[str, Tensor]) -> Tensor:
    """Copy a buffer in its logical shape: [N, C, H, W], channels_last, or [N, C].

    What holds value / scale becomes the value, in the plan's dtype.
    """
    shape, found = plan.buffers[name].shape, buffers[name]
    if scale := plan.scales.get(name):
        found = (found.float() * scale).to(plan.dtype)
    if len(shape) == 2:
        return found.clone()
    n, c, h, w = shape
    return found.view(n, h, w, c).permute(0, 3, 1, 2).clone()


def _dtype(plan: Plan, buffer: Buffer) -> torch.dtype:
    return torch.int8 if buffer.itemsize == 1 else plan.dtype


def _rows(buffer: Buffer) -> Sequence[int]:
    """Return [N * H * W, C] for [N, C, H, W]."""
    if len(buffer.shape) == 2:
        return buffer.shape
    n, c, h, w = buffer.shape
    return (n * h * w, c)
