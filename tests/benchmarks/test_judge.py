"""Verdicts that the machine, an upgrade or chance must not change."""

from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.judge import Judge, told
from r2n_kernels.benchmarks.runs import codes, place
from r2n_kernels.errors import ConfigError

from .runs import BASE, NEW, TIMM, runs

WAVE = (0.998, 1.0, 1.001, 0.999, 1.002)  # processes differ a little
QUIET = {"peer": [0.21 * w for w in WAVE], "peak": [85e9 * w for w in WAVE]}
BUSY = {"peer": [0.483 * w for w in WAVE[::-1]], "peak": [37e9 * w for w in WAVE[::-1]]}


def judged(record, base, new, **options):
    """The comparison of the subject's records."""
    by_place = codes([r for r in base if r.subject == record.subject])
    fresh = codes([r for r in new if r.subject == record.subject])
    judge = Judge([*base, *new], **options)
    return judge(by_place[place(record)][-1], fresh[place(record)][-1])


def times(seconds, wave=WAVE):
    return [seconds * w for w in wave]


def test_a_busy_machine_is_one_code_s_noise(record):
    """The issue's case: one commit; peak 85 -> 37 GFLOP/s, speed-up 2.10x -> 2.00x."""
    one = {"run": "first", "peer": [0.21], "peak": [85e9]}
    two = {"run": "second", "peer": [0.483], "peak": [37e9]}
    base, new = runs(record, [0.1], **one), runs(record, [0.2415], **two)
    found = judged(record, base, new)
    assert (found.verdict, found.relative_to) == ("A/A", TIMM)
    assert found.ratio == pytest.approx(2.1 / 2)
    assert found.noise == pytest.approx(2**-0.5 * 0.05, rel=0.05)


def test_a_busy_machine_is_no_regression_of_another_commit(record):
    """As above, of two commits: one run a side, and then five."""
    one = {"peer": [0.21], "peak": [85e9]}, {"peer": [0.483], "peak": [37e9], "commit": NEW}
    found = judged(record, runs(record, [0.1], **one[0]), runs(record, [0.2415], **one[1]))
    assert (found.verdict, found.needed) == ("unclear", 5)
    assert found.why.startswith("not enough runs: 1 and 1, 5 a side are needed; the machine moved")
    base, new = runs(record, times(0.1), **QUIET), runs(record, times(0.2415), **BUSY, commit=NEW)
    found = judged(record, base, new)
    assert found.verdict == "unclear"
    assert found.why == (
        "the machine moved by more than can be told apart: "
        f"{TIMM} 210 -> 483 ms, peak 85 -> 37 GFLOP/s"
    )
    assert found.interval[0] < 1 < found.ratio


def test_a_large_regression_is_found_on_a_busy_machine(record):
    base, new = runs(record, times(0.1), **QUIET), runs(record, times(0.345), **BUSY, commit=NEW)
    assert judged(record, base, new).verdict == "regression"


def test_a_peer_cancels_a_machine_a_little_slower(record):
    new = {"peer": [0.21 * 1.08 * w for w in WAVE], "commit": NEW}
    base = runs(record, times(0.1), QUIET["peer"])
    assert judged(record, base, runs(record, times(0.108), **new)).verdict == "same"
    assert judged(record, base, runs(record, times(0.115), **new)).verdict == "regression"
    alone = judged(record, base, runs(record, times(0.108), **new), relative_to="none")
    assert (alone.verdict, alone.relative_to) == ("unclear", None)
    assert "timm eager, channels_last 210 -> 226.8 ms" in alone.why


def test_without_a_peer_the_peak_is_in_doubt(record):
    """But where both sides took turns they saw the same machine."""
    base = runs(record, times(0.1), peak=times(85e9))
    slow = runs(record, times(0.11), peak=times(77e9), commit=NEW)
    found = judged(record, base, slow)
    assert found.verdict == "unclear"
    assert found.why.endswith("told apart: peak 85 -> 77 GFLOP/s")
    assert judged(record, base, slow, in_turns=True).verdict == "regression"
    steady = runs(record, times(0.11), peak=times(85.1e9), commit=NEW)
    assert judged(record, base, steady).verdict == "regression"
    stated = [
        runs(record, times(s), peak=[1e12] * 5, commit=c) for s, c in ((0.1, BASE), (0.2, NEW))
    ]
    assert judged(record, *stated).moved == {}  # a maker's figure tells nothing


def test_earlier_codes_tell_the_noise(record):
    """Two runs a side are enough then; without, five are."""
    base, new = runs(record, [0.1, 0.1001]), runs(record, [0.11, 0.1101], commit=NEW)
    found = judged(record, base, new)
    assert (found.verdict, found.runs) == ("unclear", (2, 2))
    earlier = [r for c in "cdef" for r in runs(record, times(0.12, WAVE[:3]), commit=c * 40)]
    assert judged(record, [*earlier, *base], new).verdict == "regression"
    assert judged(record, earlier + base + base, new).verdict == "regression"
    noisy = [r for c in "cdef" for r in runs(record, [0.1, 0.11, 0.12], commit=c * 40)]
    found = judged(record, [*noisy, *base], new)
    assert found.verdict == "unclear"
    assert found.why == f"not enough runs for this noise: {found.needed} a side would tell 5%"


def test_a_peer_is_not_judged(record):
    both = [runs(record, times(0.1), times(s), commit=c) for s, c in ((0.2, BASE), (0.3, NEW))]
    peers = [[r for r in side if r.subject == TIMM] for side in both]
    judge = Judge([*both[0], *both[1]])
    found = judge(*peers)
    assert (found.verdict, found.ratio, found.relative_to) == ("peer", pytest.approx(1.5), None)


def test_a_peer_by_name(record):
    base, new = runs(record, times(0.1), times(0.2)), runs(record, times(0.1), commit=NEW)
    with pytest.raises(ConfigError, match=r"no record is of a peer 'ONNX'; there are: 'timm eager"):
        judged(record, base, new, relative_to="ONNX")
    found = judged(record, base, new, relative_to="timm")
    assert (found.verdict, found.why) == ("unclear", "no 'timm' ran beside every run of both sides")
    again = runs(record, times(0.1), times(0.2), commit=NEW)
    assert judged(record, base, again, relative_to="timm").relative_to == TIMM


def test_noise_that_no_runs_average_out(record):
    wild = (0.1, 0.4, 0.02, 0.3, 0.9)
    base, new = runs(record, wild), runs(record, wild[::-1], commit=NEW)
    found = judged(record, base, new)
    assert (found.verdict, found.needed) == ("unclear", None)
    assert found.why == "more noise than runs can average out"


def test_identical_times_are_the_same(record):
    base, new = runs(record, [0.1] * 5), runs(record, [0.1] * 5, commit=NEW)
    assert judged(record, base, new).verdict == "same"
    slow = [dataclasses.replace(r, samples=((0.106,),)) for r in new]
    assert judged(record, base, slow).verdict == "regression"


def test_movements_are_told():
    assert told({}) == ""
    assert told({"peak": (85e9, 37e9), "x": (0.1, 0.2)}) == "peak 85 -> 37 GFLOP/s, x 100 -> 200 ms"
