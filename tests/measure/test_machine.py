"""What a report says about the machine, on GPUs that are not here."""

from __future__ import annotations

import platform
import subprocess
import types

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
    assert found["cores"] >= 1
    assert all(found[name] is None or found[name] > 0 for name in ("cache", "memory"))
    assert "gpu_clock" not in found


SMI = "1980, 1980, 2619, 312.50, 700.00, [N/A]\n"


@pytest.mark.parametrize(
    ("said", "clock", "temperature"), [(SMI, 1980.0, None), (None, None, None), ("", None, None)]
)
def test_what_a_record_states_of_a_gpu(said, clock, temperature, monkeypatch):
    """Null where the tool is missing, or does not know."""

    def run(command, capture_output, text, timeout, check):
        if said is None:
            raise FileNotFoundError
        assert command[1] == "--id=GPU-ab-c"
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(machine.subprocess, "run", run)
    chip = types.SimpleNamespace(uuid="ab-c")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: chip)
    state = machine.gpu_state(CUDA)
    assert set(state) == set(machine.GPU_STATE)
    assert (state["gpu_clock"], state["gpu_temperature"]) == (clock, temperature)
    assert state["gpu_power_limit"] == (700.0 if clock else None)


def test_versions_of_what_is_installed():
    found = machine.versions_of(["torch", "no-such-package"])
    assert found == {"python": platform.python_version(), "torch": torch.__version__}
