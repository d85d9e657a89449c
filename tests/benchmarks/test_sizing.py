"""The page on sizes has the tables that are computed, and the bottleneck is the slowest part."""

from __future__ import annotations

from pathlib import Path

import pytest

from r2n_kernels.benchmarks.devices import DEVICES
from r2n_kernels.benchmarks.roofline import predict
from r2n_kernels.benchmarks.sizing import CORES, Photos, Size, sizes, tables
from r2n_kernels.config import VARIANTS

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"


def test_the_page_is_what_is_computed():
    text = PAGE.read_text(encoding="utf-8")
    assert "\n".join(tables()).rstrip() in text


@pytest.mark.parametrize(
    ("size", "seconds", "bottleneck", "rate"),
    [
        (1000, 1e-6, "GPU", 2e4),
        (1000, CORES / 1e4, "decoding", 1e4),
        (1_000_000, 1e-6, "storage", 2e3),
    ],
)
def test_the_slowest_part_decides(size, seconds, bottleneck, rate):
    found = Size(Photos("some", size, seconds), 2e4)
    assert found.bottleneck == bottleneck
    assert found.hours == pytest.approx(1e9 / rate / 3600)
    assert found.cores == pytest.approx(2e4 * seconds)
    assert found.bandwidth == pytest.approx(2e4 * size)


def test_rates_are_the_rooflines():
    config = VARIANTS["res2net101_26w_4s"]
    expected = predict("r2n_kernels", config, 256, 224, 224, DEVICES["B200"]).rates
    assert tuple(s.rate for s in sizes(Photos("some", 1, 1), DEVICES["B200"])) == expected
