from __future__ import annotations

import pytest

from r2n_kernels.benchmarks.report.beside import sides
from r2n_kernels.benchmarks.report.data import history
from r2n_kernels.benchmarks.report.links import Links
from r2n_kernels.benchmarks.report.text import Names
from r2n_kernels.benchmarks.report.timeline import timeline

from .samples import history_of, timed
from .test_beside import TIMM, pair


def made(records):
    (beside,) = sides(records)
    return timeline(beside, history(records), Names.of(records), Links("https://a/{sha}"))


def test_speed_ups_where_a_peer_was_timed(record):
    line = made([*pair(record, 0.1, 0.2), *pair(record, 0.3, 0.6, day=1)])
    assert [round(p.value, 6) for p in line.points] == [2, 2]
    assert (line.level, line.unit) == (1.0, "times as fast")
    assert TIMM in line.told
    assert line.names == ["0000000\n1 Nov", "1111111\n2 Nov"]
    assert line.points[1].told == "r2n_kernels: 2.00x (300.6 ms, 601.2 ms); 1111111, 2026-11-02"
    assert line.points[1].url == "https://a/" + "1" * 40


def test_milliseconds_and_a_warning_where_none_was(record):
    line = made(history_of(record, [0.1, 0.2], runs=5))
    assert (line.level, line.unit) == (None, "ms per batch")
    assert "a slow machine looks like a slow commit" in line.told
    assert [p.verdict for p in line.points] == [""] * 9 + ["regression"]
    assert line.points[-1].told.endswith("regression, 2.00 times the time before")


def test_verdicts_on_peers_are_not_marked(record):
    records = history_of(timed(record, 0.1, subject="OpenVINO"), [0.1, 0.2], runs=5)
    assert {p.verdict for p in made(records).points} == {""}


def test_a_new_level_of_many_commits_is_marked(record):
    """One run a commit tells no two commits apart, but where a level ends."""
    records = []
    for day in range(16):
        slow, noise = 1 + day % 3, 1 + 0.002 * (day % 4)  # of the machine, and what is left of it
        ours = 0.1 if day < 8 else 0.12
        records += pair(record, slow * ours * noise, slow * 0.2, day)
    marked = [p for p in made(records).points if p.verdict]
    assert {p.slot for p in marked if p.verdict == "regression"} == {8}
    (cut,) = [p for p in marked if p.verdict == "regression"]
    assert cut.ratio == pytest.approx(1.2, abs=0.01)
    assert "regression, 1.20 times the time before" in cut.told
