from __future__ import annotations

import json
import re
import signal
import time

import pytest

from r2n_kernels.benchmarks.gpu import process as processes
from r2n_kernels.benchmarks.gpu.runner import Stopped
from r2n_kernels.benchmarks.gpu.section import FAILED, LATE, OK, SKIPPED

FAIL = "import sys; print('going'); sys.exit('ValueError: the reason')"
SLOW = "import time; print('begun', flush=True); time.sleep(60)"
WAITING = "import sys; print('ready', flush=True); print('got', sys.stdin.readline().strip())"


def states(runner) -> dict[str, str]:
    return {outcome.name: outcome.state for outcome in runner.outcomes}


def whys(runner) -> dict[str, str]:
    return {outcome.name: outcome.why for outcome in runner.outcomes}


def test_none_stops_the_rest(runner, section, folder, capsys):
    run = runner(
        section("a", "print('fine')"), section("b", FAIL), section("c", SLOW, seconds=0.4),
        section("d"),
    )  # fmt: skip
    start = time.monotonic()
    run.run()
    assert time.monotonic() - start < 10
    assert states(run) == {"a": OK, "b": FAILED, "c": LATE, "d": OK}
    assert whys(run) == {"a": "fine", "b": "ValueError: the reason", "c": "last: begun", "d": ""}
    assert run.exit_code == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"\[ +\d+ s\] b: failed, 0 s: ValueError: the reason", lines[1])
    assert "c: ran over its time, 0 s: last: begun" in lines[2]
    kept = json.loads((folder.parts / "sections.json").read_text())
    assert [(each["name"], each["state"]) for each in kept] == list(states(run).items())
    assert (folder.logs / "b.log").read_text() == "going\nValueError: the reason\n"


def test_all_well(runner, section):
    run = runner(section("a"), section("b"))
    run.run()
    assert run.exit_code == 0


def test_a_missing_need_is_told(runner, section, capsys):
    run = runner(
        section("a", FAIL, needs=("ncu",)), section("b", needs=("gpu",)),
        missing=lambda need: "no ncu on the path" if need == "ncu" else "",
    )  # fmt: skip
    run.run()
    assert "a: skipped: no ncu on the path\n" in capsys.readouterr().out
    assert states(run) == {"a": SKIPPED, "b": OK}
    assert run.exit_code == 0


def test_nothing_could_be_run(runner, section):
    run = runner(section("install", setup=True), section("a", needs=("gpu",)),
                 missing=lambda need: "torch finds no GPU")  # fmt: skip
    run.run()
    assert states(run) == {"install": OK, "a": SKIPPED}
    assert run.exit_code == 2


def test_nothing_runs_without_its_setup(runner, section):
    run = runner(section("install", FAIL, setup=True), section("a"))
    run.run()
    assert whys(run) == {"install": "ValueError: the reason", "a": "install failed"}
    assert run.exit_code == 2


def test_only(runner, section):
    run = runner(*map(section, ("bench", "bench_bf16", "steps")), section("i", setup=True),
                 only="bench|st.*")  # fmt: skip
    run.run()
    assert list(states(run)) == ["bench", "steps", "i"]
    with pytest.raises(re.error):
        runner(only="(")


def test_the_deadline_bounds_the_whole(runner, section):
    run = runner(section("a", SLOW), section("b"), deadline=0.6)
    start = time.monotonic()
    run.run()
    assert time.monotonic() - start < 10
    assert states(run) == {"a": LATE, "b": SKIPPED}
    assert whys(run)["b"] == "no time left of 1 s"


def test_what_a_section_must_leave(runner, section, folder):
    left = folder.parts / "x.json"
    run = runner(
        section("a", "print('done')", leaves=(left,)),
        section("b", f"open({str(left)!r}, 'w')", leaves=(left,)),
    )
    run.run()
    assert states(run) == {"a": FAILED, "b": OK}
    assert whys(run)["a"] == "left no x.json; last: done"


def test_another_try_helps_the_rest(runner, section):
    show = "import os; print(os.environ.get('TRITON_PTXAS_PATH'))"
    other = section("again", show, env={"TRITON_PTXAS_PATH": "/x/ptxas"})
    run = runner(section("a", FAIL, otherwise=other), section("b", show))
    run.run()
    assert states(run) == {"a": FAILED, "again": OK, "b": OK}
    assert whys(run)["b"] == "/x/ptxas"
    assert run.exit_code == 1


def test_another_try_that_does_not_help(runner, section):
    show = "import os; print(os.environ.get('TRITON_PTXAS_PATH'))"
    other = section("again", FAIL, env={"TRITON_PTXAS_PATH": "/x/ptxas"})
    run = runner(section("a", FAIL, otherwise=other), section("b", show))
    run.run()
    assert whys(run)["b"] == "None"


def test_it_builds_beside_and_waits_for_its_turn(runner, section, folder):
    mark = folder.parts / "mark"
    look = f"import os, time; time.sleep(0.3); print(os.path.exists({str(mark)!r}))"
    peer = f"open({str(mark)!r}, 'w'); {WAITING}"
    run = runner(
        section("warm", look), section("bench", "print('timed')", times=True),
        section("peer", peer, begins_with="warm", build=20),
    )  # fmt: skip
    run.run()
    assert whys(run) == {"warm": "True", "bench": "timed", "peer": "got go"}
    assert list(states(run)) == ["warm", "bench", "peer"]


def test_timed_sections_wait_for_builds(runner, section):
    """But not for ever."""
    build = f"import time; time.sleep(0.6); {WAITING}"
    run = runner(
        section("warm"), section("bench", "print('timed')", times=True),
        section("peer", build, begins_with="warm", build=20),
        section("never", SLOW, begins_with="warm", build=3, seconds=0.1),
    )  # fmt: skip
    run.patience = 1.5
    start = time.monotonic()
    run.run()
    assert 1.5 < time.monotonic() - start < 12
    assert run.patience <= 0
    assert states(run) == {"warm": OK, "bench": OK, "peer": OK, "never": LATE}


def test_without_the_section_that_they_begin_with(runner, section, folder):
    """They begin at once, all of them, and have the time to build."""
    mark = folder.parts / "mark"
    look = f"""
import os, time
for _ in range(200):
    time.sleep(0.05)
    if os.path.exists({str(mark)!r}):
        break
print(os.path.exists({str(mark)!r}))
"""
    beside = {"begins_with": "warm", "build": 30, "seconds": 0.01}
    run = runner(section("warm"), section("peer", look, **beside),
                 section("other", f"open({str(mark)!r}, 'w'); {WAITING}", **beside),
                 only="peer|other")  # fmt: skip
    run.run()
    assert whys(run) == {"peer": "True", "other": "got go"}


def test_stopped(runner, section, folder, monkeypatch, signal_when_there):
    """What runs is ended, what was found is kept."""
    run = runner(section("a"), section("b", SLOW), section("c"),
                 section("d", SLOW, begins_with="a", build=20))  # fmt: skip

    def stop(number, frame):
        raise Stopped(number, "SIGTERM")

    before = signal.signal(signal.SIGALRM, stop)
    signal_when_there(folder.logs / "b.log", signal.SIGALRM)
    started = []
    popen = processes.subprocess.Popen
    monkeypatch.setattr(
        processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    try:
        run.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert states(run) == {"a": OK, "b": SKIPPED, "c": SKIPPED, "d": SKIPPED}
    assert whys(run)["c"] == "stopped by SIGTERM"
    assert run.exit_code == 128 + signal.SIGALRM
    assert len(started) == 3
    assert all(process.returncode is not None for process in started)
    assert len(json.loads((folder.parts / "sections.json").read_text())) == 4


def test_one_that_cannot_be_started(runner, section, tmp_path):
    run = runner(section("a"))
    run.cwd = tmp_path / "nowhere"
    run.run()
    assert states(run) == {"a": FAILED}
    assert "nowhere" in whys(run)["a"]


def test_a_full_disk(runner, section, folder, capsys, monkeypatch):
    (folder.logs / "a.log").symlink_to("/dev/full")
    monkeypatch.setattr(folder, "log", lambda name: processes.Log(folder.logs / f"{name}.log",
                                                                  folder.lost))  # fmt: skip
    run = runner(section("a", "print('one'); print('two')"), section("b", "print('three')"))
    run.run()
    assert whys(run) == {"a": "two", "b": "three"}
    out = capsys.readouterr().out
    assert out.count("cannot write a.log: No space left on device; the run goes on") == 1
    assert (folder.logs / "b.log").read_text() == "three\n"
