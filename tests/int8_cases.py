"""Int8 networks of random weights for tests: plans, packed weights, and data of every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from r2n_kernels import from_timm
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.kernel_backend import pack
from r2n_kernels.engine.triton_ops import allocate, bind, output
from r2n_kernels.fold.triton_layout import PackedConv
from r2n_kernels.int8 import ActivationScales
from r2n_kernels.plan import Plan, build_plan
from r2n_kernels.proof.chain import outputs_of
from r2n_kernels.proof.steps import StepCase, cases
from r2n_kernels.quantize import Calibration, activation_scales
from r2n_kernels.reference import Res2Net, randomize

NEVER = -128  # no kernel writes it


def noise(config: Res2NetConfig, batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Bytes [N, H, W, C]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, height, width, config.in_chans)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def network(config: Res2NetConfig, backend: str = "torch", **options):
    model = from_timm(randomize(Res2Net(config).eval()), backend=backend, **options)
    model.pretrained_cfg = {"mean": (0.5,) * config.in_chans, "std": (0.25,) * config.in_chans}
    return model


def scales_of(config: Res2NetConfig, images: Tensor) -> ActivationScales:
    return activation_scales(network(config), Calibration(images))


def step_cases(
    config: Res2NetConfig, batch: int, height: int, width: int, *, dtype=torch.float16, **options
) -> Iterator[StepCase]:
    """A case for each step with int8 tensors, on what the twins of earlier ones made of noise.

    An element of int8 that the step has not written is NEVER.
    """
    images = noise(config, batch, height, width)
    scales = scales_of(config, images)
    plan = build_plan(config, batch, height, width, dtype, "triton", int8=scales, **options)
    state = randomize(Res2Net(config).eval()).state_dict()
    _, packed = pack(config, state, dtype, scales)
    x = ((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25).to(dtype)
    for case in cases(plan, images=x, weights=packed):
        touched = {*case.step.reads, *case.step.writes}
        if any(case.buffers[name].dtype == torch.int8 for name in touched):
            for name in set(case.step.writes) - set(case.step.reads):
                tensor = case.buffers[name]
                if tensor.dtype == torch.int8 and not plan.buffers[name].planes:
                    tensor.fill_(NEVER)
            yield case


def twin_network(plan: Plan, x: Tensor, packed: Mapping[str, PackedConv]) -> dict[str, Tensor]:
    """Outputs by buffer of the plan's twins, for x [N, C, H, W]."""
    buffers = {"input": x, **allocate(plan, x.device)}
    with torch.no_grad():
        for step in plan.steps:
            bind(step, buffers, packed).run_twin()
    return {name: output(plan, name, buffers) for name in outputs_of(plan)}
