from __future__ import annotations

import pytest

from r2n_kernels.benchmarks.devices import DEVICES, TERA, CacheReads
from r2n_kernels.kernels.targets import TARGETS


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_each_names_its_target_and_sources(device):
    assert device.target in TARGETS
    assert device.source
    assert device.driver_name
    assert device.bandwidth < device.l2.low <= device.l2.high < device.flops


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_a_guess_says_so(device):
    assert device.l2.guess == ("a guess" in device.l2.source)
    assert device.l2.guess == ("measured" not in str(device.l2))
    assert device.l2.source in str(device.l2)


def test_what_nobody_measured_is_a_guess():
    guessed = {name for name, device in DEVICES.items() if device.l2.guess}
    assert guessed == {"RTX-3090", "RTX-5090"}


def test_figures_as_text():
    assert str(CacheReads(5.4 * TERA, 5.4 * TERA, "here")) == "5.4 TB/s, measured: here"
    assert str(CacheReads(7e12, 9.7e12, "a guess, x", guess=True)) == "7.0-9.7 TB/s, a guess, x"
