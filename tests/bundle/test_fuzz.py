"""A bundle that was tampered with gives one error, or one bundle: never a crash or a hang."""

from __future__ import annotations

import random
import resource

import pytest

from r2n_kernels.bundle import open_bundle
from r2n_kernels.errors import BundleError

from ..conftest import within_cpu
from . import handmade
from .mutations import bytes_of, meaning_of
from .using import use

SECONDS = 5.0  # of CPU for any one of them: reading the bundle takes some 20 ms
MEMORY = 1 << 20  # KiB that all of them may add


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "small.r2n"
    handmade.make(path, targets=("sm_90",))
    return use(path)


@pytest.fixture(autouse=True)
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def is_refused(path, told) -> bool:
    """Whether a file gives a BundleError. Any other exception is a fault, and shown with `told`."""
    with within_cpu(SECONDS, told):
        try:
            use(path)
        except BundleError:
            return True
        except Exception as error:
            raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
    return False


FEW = pytest.param(range(150), id="few")
MANY = pytest.param(range(150, 900), id="many", marks=pytest.mark.slow)


@pytest.mark.parametrize("seeds", [FEW, MANY])
def test_other_bytes_are_refused(seeds, original, tmp_path):
    whole, path = original.file.path.read_bytes(), tmp_path / "model.r2n"
    for seed in seeds:
        data = bytes_of(whole, random.Random(seed))
        if data != whole:
            path.write_bytes(data)
            assert is_refused(path, f"seed {seed}"), seed


@pytest.mark.parametrize("seeds", [FEW, MANY])
def test_other_meanings_give_one_error_or_can_be_used(seeds, original, tmp_path):
    """With hashes that are right. What is not refused is a text or a figure that nothing uses."""
    path = tmp_path / "model.r2n"
    refused = 0
    for seed in seeds:
        told = meaning_of(original, path, random.Random(seed))
        refused += is_refused(path, f"seed {seed}: {told}")
    assert refused > len(seeds) / 2


def test_the_original_can_be_used(original):
    assert open_bundle(original.file.path).manifest == original.manifest
