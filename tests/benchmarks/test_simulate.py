from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r2n_kernels.benchmarks import simulate
from r2n_kernels.benchmarks.simulate import PLAIN, RUNS, SCENES, Scene, draw, false_alarms, found

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def test_one_run_is_never_enough():
    assert [false_alarms(PLAIN[2], runs, 3) for runs in (1, 2, 3)] == [None] * 3
    assert false_alarms(Scene("", 0.03, history=True), 1, 3) is None


def test_draws_are_as_they_say(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(simulate, "ROUND_NOISE", 1e-9)
    logs, moved = draw(Scene("", 0.03), 50, 200, rng)
    assert (logs.shape, moved) == ((200, 50), [])
    assert np.std(logs) == pytest.approx(0.03, rel=0.05)
    slow, _ = draw(Scene("", share=0.1, slow=0.05), 50, 200, rng)
    assert np.mean(slow > 0.04) == pytest.approx(0.1, rel=0.1)
    alone, (peak,) = draw(Scene("", machine=True), 50, 200, rng)
    assert np.corrcoef(alone.ravel(), peak.ravel())[0, 1] > 0.9
    beside, (_, peer) = draw(Scene("", machine=True, peer=True), 50, 200, rng)
    assert np.std(beside) < 0.1 * np.std(peer)  # what it feels as well has cancelled


def test_rounds_of_a_run_drift():
    series = simulate._wander(2000, 20, 0.9, np.random.default_rng(0))
    assert np.std(series) == pytest.approx(1, rel=0.05)
    assert np.corrcoef(series[:, 3], series[:, 4])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_the_tables_are_written(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("a\n{}\n{}\nb".format(*simulate.MARKS))
    assert simulate.main(["--trials", "2", "--markdown", str(page)]) == 0
    assert "runs recommended" in capsys.readouterr().out
    assert page.read_text().startswith("a\n")
    assert f"| {SCENES[0].name} | - | - | - | 0.00%" in page.read_text()
    (tmp_path / "none.md").write_text("")
    assert simulate.main(["--trials", "2", "--markdown", str(tmp_path / "none.md")]) == 2
    assert "has no lines" in capsys.readouterr().err


def test_the_page_has_the_table_of_today():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| {scene.name} |" in text for scene in SCENES)
    assert "".join(f" {runs} |" for runs in RUNS) in text


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_at_most_one_false_alarm_in_a_hundred(scene):
    rates = {runs: false_alarms(scene, runs, 1000, seed=1) for runs in RUNS}
    assert rates[1] is None
    assert all(rate is None or rate <= 0.01 for rate in rates.values()), rates
    assert rates[5] is not None


@pytest.mark.slow
@pytest.mark.parametrize("scene", PLAIN, ids=lambda scene: scene.name)
def test_five_percent_is_found_with_the_recommended_runs(scene):
    runs, share = found(scene, 400, seed=1)
    assert runs >= 5
    assert share >= 0.9
