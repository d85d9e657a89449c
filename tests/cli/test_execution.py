"""r2n inspect --run and --mutate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from r2n_kernels.cli import main
from r2n_kernels.kernels import device

pytestmark = pytest.mark.usefixtures("one_pool")


@pytest.fixture(autouse=True)
def _compiles(monkeypatch):
    """The workers do, though this process interprets."""
    monkeypatch.setattr(device, "interpreted", lambda: False)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("cache"))
    return [
        *("inspect", "--model", "digits", "--batch", "2", "--size", "32", "--target", "sm_90"),
        *("--cache", folder),
    ]


def test_run_adds_a_table(capsys, arguments):
    assert main([*arguments, "--kernel", "global_pool", "--run"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    at = lines.index("sm_90, executed")
    assert lines[at + 2].split()[:2] == ["global_pool", "global_pool"]
    assert lines[at + 3] == "sm_90: no fault"
    assert err.endswith("0 with faults\n")


def test_random_orders_as_json(capsys, arguments):
    more = ["--kernel", "maxpool", "--run", "--order", "random", "--seeds", "3", "4"]
    assert main([*arguments, *more, "--json", "-"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["order"], run["seeds"], run["passed"]) == ("random", [3, 4], True)
    assert run["l2_bytes"] > 0


def test_images_of_a_file(capsys, arguments, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((1, 1, 32, 32), np.float32))
    more = ["--kernel", "prepare", "--run", "--input", str(path), "--json", "-"]
    assert main([*arguments, *more]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["images"], run["passed"]) == (1, True)


def test_images_must_fit(capsys, arguments, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((1, 1, 31, 32), np.float32))
    assert main([*arguments, "--kernel", "prepare", "--run", "--input", str(path)]) == 2
    assert "images.npy: expected floats of shape [N, " in capsys.readouterr().err


def test_a_page_of_counters_by_line(tmp_path, arguments):
    path = tmp_path / "page.html"
    assert main([*arguments, "--kernel", "prepare", "--run", "--html", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert text.count("<section>") == 1
    assert "kernels/prepare.py" in text
    assert "def prepare" in text


@pytest.mark.slow
def test_mutations_are_reported(capsys, arguments):
    assert main([*arguments, "--kernel", "linear", "--mutate", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    (found,) = report["mutations"]
    assert "runs" not in report
    assert {mutant["verdict"] for mutant in found["mutants"]} <= {"reported", "harmless"}
    assert any(mutant["findings"].get("race") for mutant in found["mutants"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--order", "random"], "--order needs --run"),
        (["--seeds", "1"], "--seeds needs --run"),
        (["--input", "x.npy"], "--input needs --run"),
        (["--html", "x.html"], "--html needs --run"),
        (["--run", "--seeds", "1"], "--seeds needs --order random"),
        (["--run", "--target", "gfx942"], "the emulator runs NVIDIA's PTX, and 'gfx942' has none"),
    ],
)
def test_options_that_do_not_go_together(more, message, capsys, arguments):
    assert main([*arguments, *more]) == 2
    assert message in capsys.readouterr().err


def test_interpreted_kernels_are_refused(monkeypatch, capsys, arguments):
    monkeypatch.setattr(device, "interpreted", lambda: True)
    assert main([*arguments, "--run"]) == 2
    assert "under TRITON_INTERPRET=1 kernels are interpreted" in capsys.readouterr().err
