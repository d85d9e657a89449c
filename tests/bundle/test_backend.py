"""Where a bundle's code may be launched; test_driver.py launches it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.bundle import backend, open_bundle
from r2n_kernels.bundle.backend import BundleBackend, device_target
from r2n_kernels.errors import BundleError
from r2n_kernels.kernels.targets import TARGETS

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def bundle(small_bundle):
    return open_bundle(small_bundle)


def test_the_cpu_has_an_emulator(bundle):
    match = (
        r"has code for NVIDIA GPUs, batch 2 of 33x40 on sm_80, sm_90; got device cpu "
        r"\(on the CPU backend='ptx:sm_80' runs it in an emulator\)"
    )
    with pytest.raises(BundleError, match=match):
        device_target(bundle, CPU)


def test_an_amd_gpu(bundle, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.0")
    with pytest.raises(BundleError, match="has code for NVIDIA GPUs"):
        device_target(bundle, GPU)


@pytest.mark.parametrize(("chip", "expected"), [("sm_80", "sm_80"), ("sm_86", "sm_80"),
                                                ("sm_90", "sm_90")])  # fmt: skip
def test_a_chips_target(chip, expected, bundle, monkeypatch):
    monkeypatch.setattr(backend, "target_of", lambda device: TARGETS[chip])
    assert device_target(bundle, GPU) == expected


def test_a_chip_without_code(bundle, monkeypatch):
    monkeypatch.setattr(backend, "target_of", lambda device: TARGETS["sm_120"])
    with pytest.raises(BundleError, match=r"no code for compute capability 12\.0; it has batch 2"):
        device_target(bundle, GPU)


def test_a_chip_older_than_any(bundle, monkeypatch):
    monkeypatch.setattr(backend, "target_of", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 1080")
    with pytest.raises(BundleError, match="has no code for GTX 1080"):
        device_target(bundle, GPU)


def test_a_shape_without_code(bundle, monkeypatch):
    monkeypatch.setattr(backend, "cuda_driver", SimpleNamespace)
    made = BundleBackend(bundle, bundle.weights(), CPU, "sm_90")
    assert made.plan(2, 33, 40).batch == 2
    assert (made.name, made.dtype) == ("bundle", torch.float16)
    with pytest.raises(BundleError, match="has no code for 3 images of 33x40 on sm_90"):
        made.plan(3, 33, 40)
