from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.kernels.targets import DEFAULT, INTERPRETER, KIB, TARGETS, target_of

CUDA = torch.device("cuda")


@pytest.fixture
def device(monkeypatch):
    """device(**properties) -> what target_of makes of a GPU with them."""

    def make(hip: str | None = None, **properties):
        monkeypatch.setattr(torch.version, "hip", hip)
        found = SimpleNamespace(**{"name": "GPU", "multi_processor_count": 50, **properties})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
        return target_of(CUDA)

    return make


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_row_is_consistent(target):
    assert TARGETS[target.name] is target
    assert target.shared_bytes <= target.sm_shared_bytes
    assert target.backend == ("hip" if target.name.startswith("gfx") else "cuda")
    assert target.warp_size == (64 if target.backend == "hip" else 32)


def test_a_cpu_has_no_target():
    assert target_of(torch.device("cpu")) is None
    assert (INTERPRETER.sms, DEFAULT.name) == (1, "sm_90")


@pytest.mark.parametrize(
    ("major", "minor", "row"),
    [(8, 0, 80), (8, 6, 86), (8, 7, 86), (8, 9, 89), (9, 0, 90), (10, 3, 100), (12, 1, 120)],
)
def test_a_chip_takes_the_row_of_the_nearest_older_one(device, major, minor, row):
    found = device(major=major, minor=minor, shared_memory_per_block_optin=150 * KIB)
    assert (found.name, found.arch) == (f"sm_{10 * major + minor}", 10 * major + minor)
    assert (found.sm_warps, found.sm_ctas) == (
        TARGETS[f"sm_{row}"].sm_warps,
        TARGETS[f"sm_{row}"].sm_ctas,
    )
    assert (found.shared_bytes, found.sms, found.chip) == (150 * KIB, 50, "GPU")
    assert found.sm_shared_bytes >= found.shared_bytes


def test_without_a_stated_shared_memory_the_rows_counts(device):
    assert device(major=8, minor=6).shared_bytes == 99 * KIB


@pytest.mark.parametrize(("major", "minor"), [(7, 5), (7, 0), (6, 1)])
def test_older_chips_have_none(device, major, minor):
    assert device(major=major, minor=minor) is None


def test_amd(device):
    found = device(hip="6.2", gcnArchName="gfx942:sramecc+:xnack-")
    assert (found.backend, found.arch, found.warp_size) == ("hip", "gfx942", 64)
    assert device(hip="6.2", gcnArchName="gfx1100") is None
