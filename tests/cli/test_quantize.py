from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS

from .conftest import in_class_folders

pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """The bundled digits in folders of their classes, and a file that is no image."""
    root = in_class_folders(tmp_path_factory.mktemp("digits"))
    (root / "3" / "broken.png").write_text("no image")
    return root


def test_end_to_end(digits, tmp_path, capsys):
    out = tmp_path / "int8"
    words = ["quantize", "--model", "digits", "--calibrate", str(digits), "-o", str(out)]
    assert main([*words, "--images", "10", "--json", str(tmp_path / "report.json")]) == 0
    said = capsys.readouterr()
    assert "20 images, 10 of them for ranges; labels by the model's label names" in said.out
    assert "1 image failed; the first: " in said.out
    assert "top-1      float32 100.00%, int8 100.00%" in said.out
    assert "int8       45 of 45 layers" in said.out
    assert "INFO" not in said.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["written"], report["failed"], report["controlled"]) == (True, 1, "accuracy")
    names = {"config.json", "model.safetensors", "quantization.safetensors"}
    assert {path.name for path in out.iterdir()} == names
    model = create_model(f"local-dir:{out}", pretrained=True)
    assert model.quantization.facts["agreement"] == report["agreement"]
    assert "(int8)" in repr(model)

    images = str(DIGITS / "images")
    rows = tmp_path / "rows.jsonl"
    words = ["classify", images, "--model", f"local-dir:{out}", "--output", str(rows)]
    assert main(words) == 0
    assert "runs on cpu: openvino, int8, " in capsys.readouterr().err
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        assert row["topk"][0]["label"] == Path(row["path"]).stem.split("_")[1]


@pytest.mark.slow
def test_without_labels(digits, tmp_path, capsys):
    """Of float32 weights of another folder, and the report on standard output alone."""
    words = ["--model", "digits", "--weights", str(DIGITS), "--calibrate", str(digits / "3")]
    out = tmp_path / "int8"
    assert main(["quantize", *words, "-o", str(out), "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["labels"], report["controlled"]) == ("none", "agreement")
    assert report["agreement"]["images"] == 2


@pytest.mark.slow
def test_a_quantized_folder_is_quantized_anew(digits, tmp_path):
    """From its float32 weights: the int8 of before counts for nothing."""
    words = ["quantize", "--calibrate", str(digits), "--no-labels"]
    for model, out in (("digits", "one"), (f"local-dir:{tmp_path / 'one'}", "two")):
        assert main([*words, "--model", model, "-o", str(tmp_path / out)]) == 0
    one, two = (create_model(f"local-dir:{tmp_path / n}", pretrained=True) for n in ("one", "two"))
    assert one.quantization.digest == two.quantization.digest


def test_a_drop_that_cannot_be_had(digits, tmp_path, monkeypatch, capsys):
    from r2n_kernels import quantize

    found = {"images": 20, "top1_equal": 0.9, "cosine_mean": 1.0, "cosine_min": 1.0, "error": 0.0}
    monkeypatch.setattr(quantize, "agreement", lambda *_: found | {"drop": 10.0})
    words = ["quantize", "--model", "digits", "--calibrate", str(digits), "--max-drop", "1"]
    assert main([*words, "-o", str(tmp_path / "int8")]) == 1
    assert "the drop is above --max-drop 1: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--calibrate", "empty"], "no image in folder 'empty'"),
        (["--calibrate", "nowhere"], "nowhere"),
        (["--calibrate", "photos"], "no class of the model's label names: cats"),
        (["--calibrate", "photos", "--model", "model.r2n"], "model.r2n is a bundle"),
        (["--calibrate", "photos", "-o", "empty/.."], "it is there already"),
        (["--calibrate", "photos", "--max-drop", "x"], "expected a number from 0 to 100, got 'x'"),
        ([], "the following arguments are required: --calibrate"),
    ],
)
def test_refused(words, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("photos/cats").mkdir(parents=True)
    shutil.copy(DIGITS / "images" / "digit_3_1.png", "photos/cats")
    assert main(["quantize", "--model", "digits", "-o", "out", *words]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["nncf", "openvino"])
def test_what_is_missing_is_named(name, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    words = ["quantize", "--model", "digits", "--calibrate", str(digits)]
    assert main([*words, "-o", str(tmp_path / "out")]) == 2
    told = f"r2n: error: quantizing needs {name}: pip install 'r2n_kernels[quantize]'"
    assert told in capsys.readouterr().err


def test_changed_weights_are_refused(digits, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    out = tmp_path / "int8"
    words = ["quantize", "--model", "digits", "--calibrate", str(digits), "-o", str(out)]
    assert main(words) == 0
    state = load_file(out / "model.safetensors")
    state["conv1.weight"] = state["conv1.weight"] + torch.tensor(0.01)
    save_file(state, out / "model.safetensors", {"format": "pt"})
    words = ["classify", str(DIGITS / "images"), "--model", f"local-dir:{out}"]
    assert main(words) == 2
    assert "the weights were changed after they were quantized" in capsys.readouterr().err
    assert main([*words, "--backend", "torch"]) == 0
