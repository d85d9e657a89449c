from __future__ import annotations

from r2n_kernels.benchmarks.report.beside import sides
from r2n_kernels.benchmarks.report.headline import headline
from r2n_kernels.benchmarks.report.text import Names

from .samples import steps_of, timed
from .test_beside import TIMM, pair


def told(records):
    return headline(list(sides(records)), Names.of(records))


def test_beside_the_peer_and_beside_the_fastest(record):
    fast = timed(record, 0.05, subject="OpenVINO", commit="0" * 40)
    found = told([*pair(record, 0.1, 0.2), fast])
    assert found.lead == f"2.00x as fast as {TIMM}"
    assert "Beside the fastest peer of each batch (OpenVINO): 0.50x." in found.rest
    assert "commit 0000000, 2026-11-01: res2net50_26w_4s" in found.rest


def test_alone(record):
    found = told([timed(record, 0.1)])
    assert found.lead == "79.84 images per second"
    assert found.rest.endswith("No peer was timed beside it.")


def test_without_this_project(record):
    assert told([timed(record, 0.1, subject="OpenVINO")]) is None
    assert told(list(steps_of(record))) is None
