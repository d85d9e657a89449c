"""The checks of a stored plan: none that a schedule makes is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.bundle.plans import check_buffers
from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan

ODD = {
    "one channel": Res2NetConfig((1,), planes=(3,), in_chans=1, num_classes=0),
    "many splits": Res2NetConfig((1, 1), planes=(64, 8), base_width=8, scale=64, num_classes=1),
    "wide": Res2NetConfig((1, 1), planes=(8, 8), base_width=640, in_chans=13, num_classes=5000),
}


def plan_of(config, batch, size):
    sm_90 = TARGETS["sm_90"]
    return build_plan(config, batch, *size, torch.float16, "triton", target=sm_90)


@pytest.mark.parametrize(("batch", "size"), [(1, (32, 32)), (256, (224, 224)), (3, (33, 1025))])
@pytest.mark.parametrize("name", [*VARIANTS, *ODD])
def test_real_plans_pass(name, batch, size):
    check_buffers(plan_of({**VARIANTS, **ODD}[name], batch, size))


def test_an_output_that_nothing_writes():
    plan = plan_of(ODD["wide"], 2, (33, 40))
    with pytest.raises(ValueError, match="buffer logits has the shape"):
        check_buffers(dataclasses.replace(plan, steps=plan.steps[:-1]))
