"""r2n gate, on one or two kernels of a small network."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from importlib.metadata import version
from xml.etree import ElementTree

import pytest
import torch

from r2n_kernels.cli import gate, main
from r2n_kernels.compiled import baseline, build, pool, summary
from r2n_kernels.compiled.instances import Request
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels import tile_rules

SMALL = Res2NetConfig((2,), planes=(64,), num_classes=10)
SPILLS = "import r2n_kernels.kernels.tile_rules as rules; rules.GEMM_SHAPES = ((128, 256, 4, 2),)"

pool_of_one = functools.partial(pool.Pool, 1)  # before any test replaces it


@pytest.fixture
def kernels(monkeypatch, workers, tmp_path_factory):
    """kernels(pattern, schedule): what the gate compiles, instead of the headline's. One worker."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "gate"))
    monkeypatch.setattr(pool, "Pool", lambda jobs: contextlib.nullcontext(workers))
    compile_rows = gate.compile_rows

    def choose(pattern: str, schedule: str = "throughput") -> None:
        def requests(targets):
            return [Request(SMALL, 2, 32, 32, torch.float16, t, schedule) for t in targets]

        monkeypatch.setattr(summary, "requests", requests)
        some = functools.partial(compile_rows, kernel=pattern)
        monkeypatch.setattr(gate, "compile_rows", some)

    return choose


@pytest.fixture
def accepted(kernels, tmp_path, capsys):
    """The command on an accepted file, of maxpool on two targets."""
    kernels("maxpool")
    command = ["gate", "--baseline", str(tmp_path / "b.json")]
    assert main([*command, "--update", "--target", "sm_80", "sm_90"]) == 0
    capsys.readouterr()
    return command


def edit(path, target, name, group, **facts):
    """Change what was accepted."""
    content = json.loads(path.read_text())
    entries = content["targets"][target]
    key = next(key for key in entries if key.startswith(name))
    entries[key][group].update({fact.replace("_", " "): value for fact, value in facts.items()})
    path.write_text(json.dumps(content))


def test_update_round_trip(accepted, tmp_path, capsys):
    path = tmp_path / "b.json"
    before = path.read_text()
    assert main(accepted) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "sm_80: 2 entries, as in the baseline",
        "",
        "sm_90: 2 entries, as in the baseline",
    ]
    assert err.endswith(" s: as in the baseline\n")
    assert main([*accepted, "--update"]) == 0
    assert path.read_text() == before
    assert json.loads(before)["triton"] == version("triton")


@pytest.mark.parametrize(("registers", "verdict"), [(1, "worse"), (999, "better")])
def test_any_difference_fails_until_accepted(accepted, tmp_path, capsys, registers, verdict):
    path = tmp_path / "b.json"
    right = path.read_text()
    edit(path, "sm_90", "maxpool", "compiled", registers=registers)
    wrong = path.read_text()
    assert main(accepted) == 1
    out, err = capsys.readouterr()
    assert f"sm_90: 2 entries, 1 {verdict}" in out
    assert f"    {verdict:<8} registers " in out
    assert err.endswith(f"1 {verdict}\n`r2n gate --update` accepts what differs\n")
    assert path.read_text() == wrong
    assert main([*accepted, "--update"]) == 0
    assert path.read_text() == right
    assert main(accepted) == 0


def test_targets_that_were_not_asked_for_stay(accepted, tmp_path, capsys):
    path = tmp_path / "b.json"
    for target in ("sm_80", "sm_90"):
        edit(path, target, "plan", "plan", launches=1)
    assert main([*accepted, "--target", "sm_80"]) == 1
    assert "sm_90" not in capsys.readouterr().out
    assert main([*accepted, "--target", "sm_80", "--update"]) == 0
    assert main([*accepted, "--target", "sm_80"]) == 0
    assert main([*accepted, "--target", "sm_90"]) == 1
    assert main(accepted) == 1
    (launches,) = [
        entry["plan"]["launches"]
        for key, entry in baseline.read(path).targets["sm_90"].items()
        if str(key) == "plan b2"
    ]
    assert launches == 1


def test_update_adds_a_target(accepted, tmp_path):
    assert main([*accepted, "--target", "sm_120"]) == 1
    assert main([*accepted, "--target", "sm_120", "--update"]) == 0
    assert list(baseline.read(tmp_path / "b.json").targets) == ["sm_80", "sm_90", "sm_120"]
    assert main(accepted) == 0


class TestExecuted:
    """Counters: only --run compares them; --update neither loses them nor keeps stale ones."""

    def test_run_compares(self, accepted, tmp_path, capsys):
        edit(tmp_path / "b.json", "sm_90", "maxpool", "executed", l2=1)
        assert main([*accepted, "--target", "sm_90"]) == 0
        assert main([*accepted, "--target", "sm_90", "--run"]) == 1
        assert "    worse    l2 " in capsys.readouterr().out

    def test_update_keeps_those_of_the_same_code(self, accepted, tmp_path):
        path = tmp_path / "b.json"
        edit(path, "sm_90", "maxpool", "executed", l2=1)
        assert main([*accepted, "--update"]) == 0
        assert '"l2": 1,' in path.read_text()

    @pytest.mark.parametrize(
        ("name", "group", "facts"),
        [("maxpool", "compiled", {"code": "other"}), ("plan", "plan", {"launches": 1})],
    )
    def test_update_executes_what_changed(self, accepted, tmp_path, name, group, facts):
        path = tmp_path / "b.json"
        right = path.read_text()
        edit(path, "sm_90", "maxpool", "executed", l2=1)
        edit(path, "sm_90", name, group, **facts)
        assert main([*accepted, "--update"]) == 0
        assert path.read_text() == right

    def test_update_with_run_executes_all(self, accepted, tmp_path):
        path = tmp_path / "b.json"
        right = path.read_text()
        edit(path, "sm_90", "maxpool", "executed", l2=1)
        assert main([*accepted, "--update", "--run"]) == 0
        assert path.read_text() == right


@pytest.mark.slow
def test_a_spill_is_caught(kernels, workers, monkeypatch, tmp_path, capsys):
    """128x256 tiles for 4 warps, by the rule of tiles, where the plan and the workers read it."""
    kernels("conv3")
    command = ["gate", "--baseline", str(tmp_path / "b.json"), "--target", "sm_80"]
    assert main([*command, "--update"]) == 0
    with pool_of_one() as patched:
        list(patched.map(exec, [SPILLS]))
        monkeypatch.setattr(pool, "Pool", lambda jobs: contextlib.nullcontext(patched))
        monkeypatch.setattr(tile_rules, "GEMM_SHAPES", ((128, 256, 4, 2),))
        capsys.readouterr()
        assert main([*command, "--json", str(tmp_path / "gate.json")]) == 1
    out = capsys.readouterr().out
    assert re.search(r"worse +layer1.1.conv3 b2 .* 32x32x64 s4 w4 -> 128x256x64 s2 w4\n", out)
    found = json.loads((tmp_path / "gate.json").read_text())["differences"]
    spills = [c for d in found for c in d["changes"] if c["fact"] == "spill"]
    assert spills
    assert all(c["base"] == 0 < c["new"] and c["verdict"] == "worse" for c in spills)


def test_a_removed_fusion_is_caught(kernels, tmp_path, capsys):
    """The stage in a launch a split."""
    kernels("stage*", "throughput")
    command = ["gate", "--baseline", str(tmp_path / "b.json"), "--target", "sm_90"]
    assert main([*command, "--update"]) == 0
    kernels("stage*", "latency")
    capsys.readouterr()
    assert main(command) == 1
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["worse", "plan", "b2"] in lines
    (launches,) = [line for line in lines if line[1:2] == ["launches"]]
    assert int(launches[4]) - int(launches[2]) == 2
    assert re.search(r"  layer1.1.convs b2 stage_images .*\s+-> stage_split ", out)


class TestBroken:
    def test_what_does_not_compile_is_not_accepted(self, accepted, tmp_path, monkeypatch, capsys):
        before = (tmp_path / "b.json").read_text()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(build, "compile_instance", int)
        for more in ([], ["--update"]):
            assert main([*accepted, "--target", "sm_90", *more]) == 1
            out, err = capsys.readouterr()
            assert "    worse    does not compile: TypeError: int() argument must be" in out
            assert err.endswith("do not compile or run, and cannot be accepted: 1\n")
        assert (tmp_path / "b.json").read_text() == before

    def test_what_does_not_run_is_not_accepted(self, accepted, tmp_path, monkeypatch, capsys):
        before = (tmp_path / "b.json").read_text()
        monkeypatch.setattr("r2n_kernels.compiled.run.run_work", int)
        assert main([*accepted, "--target", "sm_90", "--run", "--update"]) == 1
        assert "    worse    TypeError: int() argument must be" in capsys.readouterr().out
        assert (tmp_path / "b.json").read_text() == before


class TestReports:
    def test_json(self, accepted, tmp_path, capsys):
        edit(tmp_path / "b.json", "sm_90", "maxpool", "compiled", registers=1)
        assert main([*accepted, "--json", "-"]) == 1
        report = json.loads(capsys.readouterr().out)
        assert (report["targets"], report["executed"]) == (["sm_80", "sm_90"], False)
        assert report["triton"] == version("triton")
        (found,) = report["differences"]
        assert (found["target"], found["verdict"]) == ("sm_90", "worse")
        assert found["base"] == found["new"]
        assert [(c["fact"], c["base"]) for c in found["changes"]] == [("registers", 1)]

    def test_junit(self, accepted, tmp_path):
        edit(tmp_path / "b.json", "sm_90", "maxpool", "compiled", registers=1)
        report = tmp_path / "gate.xml"
        assert main([*accepted, "--junit", str(report)]) == 1
        suite = ElementTree.parse(report).getroot()
        shown = [suite.get(key) for key in ("name", "tests", "failures", "errors")]
        assert shown == ["r2n gate", "4", "1", "0"]
        (failed,) = suite.findall("testcase[failure]")
        assert failed.get("name").startswith("sm_90 maxpool b2 maxpool ")
        assert failed.find("failure").get("message").startswith("worse: maxpool b2 ")

    @pytest.mark.parametrize("option", ["--json", "--junit", "--baseline"])
    def test_nowhere(self, capsys, option):
        assert main(["gate", option, "nowhere/r"]) == 2
        assert f"{option} 'nowhere/r': there is no such folder" in capsys.readouterr().err


class TestAnotherTriton:
    @pytest.fixture(autouse=True)
    def _of_another(self, accepted, tmp_path):
        path = tmp_path / "b.json"
        path.write_text(path.read_text().replace(f'"{version("triton")}"', '"3.1.0"'))

    @pytest.mark.parametrize("more", [[], ["--run"], ["--update", "--target", "sm_90"]], ids=str)
    def test_is_not_comparable(self, accepted, capsys, more):
        assert main([*accepted, *more]) == 2
        assert f"is of Triton 3.1.0, {version('triton')} is installed" in capsys.readouterr().err

    def test_update_executes_all(self, accepted, tmp_path):
        edit(tmp_path / "b.json", "sm_90", "maxpool", "executed", l2=1)
        assert main([*accepted, "--update"]) == 0
        assert '"l2": 1,' not in (tmp_path / "b.json").read_text()
        assert main([*accepted, "--run"]) == 0


@pytest.mark.parametrize("more", [[], ["--update"]], ids=str)
def test_a_damaged_file_stays(tmp_path, capsys, more):
    path = tmp_path / "b.json"
    path.write_text("<<<<<<< ours\n")
    assert main(["gate", "--baseline", str(path), *more]) == 2
    assert "b.json is damaged: " in capsys.readouterr().err
    assert path.read_text() == "<<<<<<< ours\n"


def test_no_file(tmp_path, capsys):
    assert main(["gate", "--baseline", str(tmp_path / "b.json")]) == 2
    assert "b.json cannot be read: No such file" in capsys.readouterr().err


def test_no_checkout(capsys, monkeypatch):
    monkeypatch.setattr(baseline, "source_tree", lambda: None)
    assert main(["gate"]) == 2
    assert "not run from a checkout; name a file: --baseline FILE" in capsys.readouterr().err


def test_a_target_without_ptx(capsys):
    assert main(["gate", "--target", "gfx942"]) == 2
    assert "argument --target: invalid choice: 'gfx942'" in capsys.readouterr().err
