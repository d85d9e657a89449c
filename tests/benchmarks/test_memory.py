from __future__ import annotations

import pytest
import torch

from r2n_kernels.benchmarks import memory
from r2n_kernels.benchmarks import peak as peaks
from r2n_kernels.benchmarks.peak import measure, peak_of
from r2n_kernels.kernels.targets import TARGETS

MB = 2**20
TRIES = 4  # where memory is short, the system takes some of the process away meanwhile
CPU = torch.device("cpu")


def touched(megabytes):
    return torch.ones(megabytes * MB, dtype=torch.uint8)


def build(kept, used, scratch=0):
    """A subject that keeps some memory, uses some in a call, and some while it is built."""

    def make():
        touched(scratch)
        weights = touched(kept)
        return lambda: weights.numel() + touched(used + 1).max()

    return make


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="needs Linux's /proc/self/clear_refs")
@pytest.mark.parametrize(("kept", "used", "scratch"), [(200, 0, 0), (0, 300, 0), (100, 50, 400)])
def test_weights_and_activations_count_but_not_what_building_took(kept, used, scratch):
    least, most = kept + used - 10, kept + used + 40
    for _ in range(TRIES):
        call, found = memory.build_and_measure(build(kept, used, scratch), CPU)
        assert call() > 0
        if least < found / MB < most:
            return
    pytest.fail(f"{found / MB:.0f} MiB, where {least} to {most} were expected")


def test_where_the_system_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "no" / "such")
    call, found = memory.build_and_measure(build(1, 1), CPU)
    assert found is None
    assert call() > 0
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.build_and_measure(build(1, 1), CPU)[1] is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu():
    device = torch.device("cuda")

    def make():
        weights = touched(100).to(device)
        return lambda: weights.clone()

    assert memory.build_and_measure(make, device)[1] / MB == pytest.approx(200, abs=4)


def test_a_peak_is_what_a_product_and_a_copy_reach():
    peak = measure(CPU, torch.float32, side=256)
    assert peak.flops > 1e9
    assert peak.bandwidth > 1e8
    assert peak.source == (
        "the better of a 256x256 matrix product and a 256-channel 3x3 convolution; "
        "a 256 MiB copy: measured here"
    )
    assert set(peak.to_json()) == {"flops", "bandwidth", "source"}


def test_a_known_gpu_has_its_makers_peak_and_l2_is_measured(monkeypatch):
    device, name = torch.device("cuda"), "NVIDIA H100 80GB HBM3"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr("r2n_kernels.benchmarks.l2_read.l2_bandwidth", lambda d: (7e12, 2**24))
    monkeypatch.setattr(peaks, "target_of", lambda device: TARGETS["sm_90"])
    peak = peak_of(device, torch.float16)
    assert (peak.flops, peak.bandwidth, peak.l2) == (989e12, 3350e9, 7e12)
    assert peak.source.endswith("; L2: 16 MiB read over and over by all SMs, measured here")
    assert peak.to_json()["l2"] == 7e12
    for other in (TARGETS["gfx942"], None):  # of another make; or where no kernel of ours runs
        monkeypatch.setattr(peaks, "target_of", lambda device, other=other: other)
        assert peak_of(device, torch.float16).l2 is None
