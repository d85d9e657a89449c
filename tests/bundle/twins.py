"""A backend that runs a bundle's plans with the kernels' PyTorch twins, on a bundle's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from r2n_kernels.bundle import Bundle
from r2n_kernels.bundle.ops import Kernel
from r2n_kernels.bundle.source import TargetPlans
from r2n_kernels.engine.backend import Normalization
from r2n_kernels.engine.triton_ops import allocate, bind, output
from r2n_kernels.fold.triton_layout import PackedConv
from r2n_kernels.plan import Plan

CPU = torch.device("cpu")


class TwinBackend:
    """It keeps the plans that it ran."""

    name, own_kernels, device = "twins", True, CPU

    def __init__(
        self, bundle: Bundle, packed: Mapping[str, PackedConv], device: torch.device = CPU,
        target: str = "sm_90", graphs: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.config, self.dtype = bundle.manifest.config, bundle.manifest.dtype
        self.packed, self.weights, self.target, self.graphs = packed, packed, target, graphs
        self.plans, self.ran = TargetPlans(bundle, target, Kernel), []

    def plan(self, batch: int, height: int, width: int) -> Plan:
        return self.plans.plan(batch, height, width)

    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        pass

    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        self.ran.append(plan)
        buffers = {"input": x, **allocate(plan, CPU)}
        with torch.no_grad():
            for step in plan.steps_for(wanted):
                bind(step, buffers, self.packed, normalization).run_twin()
        return [output(plan, name, buffers) for name in wanted]
