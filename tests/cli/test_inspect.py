from __future__ import annotations

import json
import signal
import time

import pytest

from r2n_kernels.cli import main
from r2n_kernels.cli.inspect import config_of
from r2n_kernels.compiled import build
from r2n_kernels.config import VARIANTS

pytestmark = pytest.mark.usefixtures("one_pool")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """One instance, in a cache of this file's own."""
    folder = str(tmp_path_factory.mktemp("cache"))
    return [
        *("inspect", "--model", "digits", "--batch", "2", "--size", "32"),
        *("--kernel", "maxpool", "--cache", folder),
    ]


def test_table(capsys, arguments):
    assert main([*arguments, "--target", "sm_80"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "digits, batch 2, 32x32, float16, auto"
    assert lines[2] == "sm_80 (A100)"
    assert lines[4].split()[:4] == ["maxpool", "maxpool", "8x8", "64"]
    assert "sm_80: no fault" in lines
    assert err.startswith("1 instances in ")
    assert err.endswith("0 with faults\n")


def test_json_and_dump(capsys, arguments, tmp_path):
    more = ["--target", "sm_80", "gfx942", "--json", "-", "--dump", str(tmp_path / "asm")]
    assert main([*arguments, *more, "--dump-kind", "ptx", "sass", "amdgcn"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["batch"], report["size"]) == ("digits", [2], [32, 32])
    assert [i["target"] for i in report["instances"]] == ["sm_80", "gfx942"]
    assert all(i["registers"] > 0 and i["spill"] == 0 for i in report["instances"])
    dumped = sorted(p.relative_to(tmp_path / "asm") for p in (tmp_path / "asm").rglob("*.*"))
    assert [(p.parent.name, p.suffix) for p in dumped] == [
        ("gfx942", ".amdgcn"),
        ("sm_80", ".ptx"),
        ("sm_80", ".sass"),
    ]
    assert ".visible .entry maxpool_kernel" in (tmp_path / "asm" / dumped[1]).read_text()


def test_json_in_a_file_leaves_the_table(capsys, arguments, tmp_path):
    file = tmp_path / "report.json"
    assert main([*arguments, "--target", "sm_80", "--json", str(file)]) == 0
    assert "sm_80 (A100)" in capsys.readouterr().out
    assert len(json.loads(file.read_text())["instances"]) == 1


def test_fault_is_exit_code_1(capsys, arguments, monkeypatch):
    monkeypatch.setattr(build, "compile_instance", int)
    assert main([*arguments[:-2], "--no-cache", "--target", "sm_80"]) == 1
    out, err = capsys.readouterr()
    assert "does not compile: TypeError: int() argument must be" in out
    assert err.endswith("1 with faults\n")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--target", "sm_70"], "argument --target: invalid choice: 'sm_70'"),
        (["--batch", "0"], "argument --batch: expected a whole number of at least 1, got '0'"),
        (["--dtype", "float64"], "argument --dtype: invalid choice"),
        (["--no-cache", "--cache", "x"], "pass either --cache or --no-cache, not both"),
        (["--dump-kind", "ptx"], "--dump-kind needs --dump DIR"),
        (["--json", "nowhere/r.json"], "--json 'nowhere/r.json': there is no such folder"),
        (["--model", "res2net51"], "unknown model 'res2net51'; nearest: res2"),
        (["--model", "local-dir:nowhere"], "nowhere"),
        (["--kernel", "x*", "--no-cache"], "no kernel matches 'x*'; there are conv, conv1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(capsys, more, reason):
    assert main(["inspect", *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err


def test_model(tiny):
    assert config_of("res2net50d.in1k") == VARIANTS["res2net50d"]
    assert config_of("digits").num_classes == 10
    assert config_of(f"local-dir:{tiny}").num_classes == 5


@pytest.mark.slow
def test_stops_at_once(spawn, tmp_path):
    process = spawn("inspect", "--target", "all", "--cache", str(tmp_path))
    deadline = time.monotonic() + 200
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert process.stderr.read() == b"r2n: stopped\n"
    assert process.stdout.read() == b""
    assert not any(path.suffix == ".tmp" for path in tmp_path.iterdir())
