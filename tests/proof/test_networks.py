from __future__ import annotations

import pytest
import torch

from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.proof import networks
from r2n_kernels.proof.networks import default_setup, full_setup


@pytest.mark.skipif(not interpreted(), reason="asks for what a machine without a GPU says")
def test_default_setup(monkeypatch):
    small, quick = default_setup(None), default_setup(None, quick=True)
    assert small.dtypes == (torch.float16, torch.bfloat16, torch.float32)
    assert quick.dtypes == (torch.float16,)
    with pytest.raises(ConfigError, match="TRITON_INTERPRET=1 runs kernels on the CPU, got"):
        default_setup(torch.device("cuda", 0))
    monkeypatch.setattr(networks, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"no GPU here; `TRITON_INTERPRET=1 r2n selftest` runs"):
        default_setup(None)
    with pytest.raises(ConfigError, match="needs a GPU, and the device is cpu"):
        default_setup(torch.device("cpu"))


@pytest.mark.parametrize("target", ["sm_90", "sm_100"])
@pytest.mark.parametrize("dtype", networks.ALL, ids=str)
def test_every_op_of_a_gpus_self_test_is_run_by_a_network(dtype, target, monkeypatch):
    monkeypatch.setattr(networks, "kernel_target", lambda device: TARGETS[target])
    setup = full_setup(torch.device("cuda", 0))
    asked = setup.ops(dtype)
    planned = [setup._plan(forward, dtype) for forward in setup.forwards]
    steps = [step for plan in planned for step in plan.steps]
    assert set(asked) == {step.op for step in steps}
    assert ("resident_stage" in asked) == (target == "sm_90" and dtype != torch.float32)
    chained = {step.options["chained"] for step in steps if step.op == "stage"}
    assert chained == {False, True}
