from __future__ import annotations

import pytest

from r2n_kernels.benchmarks.gpu import needs as needs_module
from r2n_kernels.benchmarks.gpu.needs import Needs


@pytest.fixture
def needs(tmp_path) -> Needs:
    return Needs(tmp_path / "environment.json", tmp_path / "out", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no environment.json says whether there is a GPU"),
        ("{", "no environment.json says whether there is a GPU"),
        ('{"gpu": null}', "torch finds no GPU"),
        ('{"gpu": "NVIDIA H100"}', ""),
    ],
)
def test_gpu(text, why, needs):
    if text is not None:
        needs.environment.write_text(text)
    assert needs("gpu") == why


def test_programs(needs, tmp_path):
    assert needs("ncu") == "no ncu on the path"
    assert needs("compute-sanitizer") == "no compute-sanitizer on the path"
    (tmp_path / "ncu").touch(mode=0o755)
    assert needs("ncu") == ""


def test_candidates(needs):
    assert needs("candidates").startswith("no candidates were made: python -m r2n_kernels.")
    needs.candidates.mkdir()
    (needs.candidates / "manifest.json").touch()
    assert needs("candidates") == ""


def test_modules(needs, monkeypatch):
    assert needs("pytest") == ""
    monkeypatch.setattr(needs_module, "find_spec", lambda name: None)
    assert needs("timm") == "timm is not installed"
    assert needs("cuda-bindings") == "cuda-bindings is not installed"


def test_modules_in_packages(needs, monkeypatch):
    there = {"cuda"}
    monkeypatch.setattr(needs_module, "find_spec", lambda name: name in there)
    assert needs("cuda-bindings") == "cuda-bindings is not installed"
    there.add("cuda.bindings")
    assert needs("cuda-bindings") == ""


def test_an_unknown_need_is_a_mistake(needs):
    with pytest.raises(KeyError):
        needs("cuda")
