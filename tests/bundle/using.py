"""Everything that can be done with a bundle, but for running its code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from r2n_kernels.bundle import Bundle, open_bundle
from r2n_kernels.bundle.ops import FORMS, Kernel, StoredCall
from r2n_kernels.bundle.plans import StoredPlan
from r2n_kernels.engine.backend import Normalization
from r2n_kernels.engine.triton_ops import allocate, bind, output
from r2n_kernels.fold.triton_layout import PackedConv

CPU = torch.device("cpu")


def use(path: Path) -> Bundle:
    """Read all of a bundle, and make the calls of each plan on tensors. Raises BundleError."""
    bundle = open_bundle(path)
    bundle.file.check()
    bundle.labels(), bundle.proof(), bundle.offer()
    weights = bundle.weights()
    for shape in bundle.manifest.shapes:
        for proof in (False, True):
            stored = bundle.plan(shape, proof=proof)
            for call in calls(stored, weights):
                assert call.name
                assert call.packed.address
    return bundle


def calls(stored: StoredPlan, weights: dict[str, PackedConv]) -> Iterator[StoredCall]:
    """Yield the calls of a forward pass for each form of input, and copy what it gives."""
    plan, op = stored.plan, stored.ops(Kernel)
    buffers = allocate(plan, CPU)
    for form in FORMS:
        x, normalization = image(form, plan.buffers["input"].shape, plan.dtype)
        given = {"input": x, **buffers}
        yield from bind(plan.steps[0], given, weights, normalization, op=op(plan.steps[0])).calls()
    for step in plan.steps[1:]:
        yield from bind(step, buffers, weights, op=op(step)).calls()
    names = [*plan.features, "logits" if plan.config.num_classes else "embedding"]
    assert plan.steps_for(names)
    for name in names:
        output(plan, name, buffers)


def image(
    form: str, shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, Normalization | None]:
    """Return an input in a form, and scale and shift for bytes."""
    n, c, h, w = shape
    if form == "bytes":
        x = torch.zeros(n, h, w, c, dtype=torch.uint8).permute(0, 3, 1, 2)
        return x, (torch.ones(c), torch.zeros(c))
    x = torch.zeros(shape, dtype=dtype)
    return x.contiguous(memory_format=getattr(torch, f"{form}_format", torch.channels_last)), None
