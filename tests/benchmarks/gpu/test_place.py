from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from r2n_kernels.benchmarks.gpu import place as places
from r2n_kernels.benchmarks.gpu.place import Place


@pytest.fixture
def place(folder, tmp_path) -> Place:
    """One whose programs and checkout are in the empty tmp_path."""
    return Place("python", tmp_path, folder, tmp_path, str(tmp_path), 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no environment.json says whether there is a GPU"),
        ("{", "no environment.json says whether there is a GPU"),
        ('{"gpu": null}', "torch finds no GPU"),
        ('{"gpu": "NVIDIA H100"}', ""),
    ],
)
def test_gpu(text, why, place):
    if text is not None:
        place.environment.write_text(text)
    assert place.missing("gpu") == why


def test_programs(place, tmp_path):
    assert place.missing("ncu") == "no ncu on the path"
    assert place.missing("compute-sanitizer") == "no compute-sanitizer on the path"
    (tmp_path / "ncu").touch(mode=0o755)
    assert place.missing("ncu") == ""


def test_candidates(place):
    assert place.missing("candidates").startswith("no candidates were made: python -m r2n_kernels.")
    place.candidates.mkdir(parents=True)
    (place.candidates / "manifest.json").touch()
    assert place.missing("candidates") == ""


def test_modules(place, monkeypatch):
    assert place.missing("pytest") == ""
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    assert place.missing("timm") == "timm is not installed"
    assert place.missing("cuda-bindings") == "cuda-bindings is not installed"


def test_modules_in_packages(place, monkeypatch):
    there = {"cuda"}
    monkeypatch.setattr(places, "find_spec", lambda name: name in there)
    assert place.missing("cuda-bindings") == "cuda-bindings is not installed"
    there.add("cuda.bindings")
    assert place.missing("cuda-bindings") == ""


def test_commands(place):
    assert place.r2n("warm", Path("a b")) == ("python", "-m", "r2n_kernels.cli", "warm", "a b")
    assert place.dryable("probe")[-1] == "r2n_kernels.benchmarks.gpu.probe"
    assert replace(place, dry=True).dryable("probe")[-1] == "--dry"
    assert Path(place.script("install.py")[1]).is_file()


def test_an_unknown_need_is_a_mistake(place):
    with pytest.raises(KeyError):
        place.missing("cuda")
