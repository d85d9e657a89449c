"""What a report says about the machine, on GPUs that are not here."""

from __future__ import annotations

import pytest
import torch
import triton

from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.measure import machine
from r2n_kernels.measure.machine import describe_environment

CUDA = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of some target, with a Triton of some version."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(machine, "driver", lambda: "580.1")

    def make(target: str, version: str) -> dict[str, str]:
        monkeypatch.setattr(machine, "target_of", lambda _: TARGETS.get(target))
        monkeypatch.setattr(triton, "__version__", version)
        return describe_environment(CUDA)

    return make


def test_a_missing_fence_is_told(gpu):
    facts = gpu("sm_90", "3.6.0")
    assert (facts["architecture"], facts["triton"]) == ("sm_90", "3.6.0")
    assert facts["missing"].startswith("Triton 3.6.0 leaves out fence.proxy.async between")


@pytest.mark.parametrize(("target", "version"), [("sm_90", "3.8.0"), ("sm_80", "3.6.0")])
def test_nothing_is_missing(gpu, target, version):
    assert "missing" not in gpu(target, version)


def test_a_gpu_without_kernels(gpu):
    facts = gpu("sm_70", "3.6.0")
    assert facts["architecture"] == "not supported"
    assert "missing" not in facts


def test_the_interpreter():
    facts = describe_environment(torch.device("cpu"))
    assert facts["device"] == "Triton's interpreter"
    assert facts["processor"]


def test_what_a_record_states():
    found = machine.machine_facts(torch.device("cpu"))
    assert (found["gpu"], found["driver"]) == (None, None)
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
