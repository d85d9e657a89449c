from __future__ import annotations

import json

import pytest
import timm
import torch

from r2n_kernels import create_model
from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS


def test_options_come_back(tiny, model, tmp_path, capsys):
    (tmp_path / "map.json").write_text('{"4": "E", "0": "A"}')
    output = str(tmp_path / "out")
    words = ["--img-size", "96x64", "--crop-pct", "1", "--interpolation", "bicubic", "--std", "0.5"]
    arguments = [*words, "--class-map", str(tmp_path / "map.json"), "--output", output]
    assert main(["convert", *model, *arguments]) == 0
    assert f"{output}: res2net50_26w_4s, 5 classes, 96x64 px" in capsys.readouterr().err
    ours = create_model(f"local-dir:{output}", pretrained=True)
    theirs = timm.create_model(f"local-dir:{output}", pretrained=True).eval()
    expected = {
        "input_size": (3, 96, 64), "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5), "crop_pct": 1.0, "crop_mode": "center",
    }  # fmt: skip
    assert {key: ours.pretrained_cfg[key] for key in expected} == expected
    found = timm.data.resolve_model_data_config(theirs)
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()} == expected
    assert ours.pretrained_cfg["label_names"] == ["A", "class 1", "class 2", "class 3", "E"]
    x = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    before = create_model(f"local-dir:{tiny}", pretrained=True)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), before(x), rtol=0, atol=0)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_a_bare_file(tmp_path, randomize, capsys):
    """What is known of the published checkpoint alone is not said of another."""
    from r2n_kernels.config import VARIANTS
    from r2n_kernels.reference import Res2Net

    network = randomize(Res2Net(VARIANTS["res2net50_48w_2s"].replace(num_classes=4)))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    output = tmp_path / "out"
    arguments = ["--model", "res2net50_48w_2s", "--weights", str(tmp_path / "w.pth")]
    assert main(["convert", *arguments, "--img-size", "64", "--output", str(output)]) == 0
    err = capsys.readouterr().err
    assert "w.pth has no config.json, so that res2net50_48w_2s's own defaults count" in err
    stated = json.loads((output / "config.json").read_text())
    assert (stated["architecture"], stated["num_classes"]) == ("res2net50_48w_2s", 4)
    assert not {"license", "tag", "hf_hub_id", "url"} & stated["pretrained_cfg"].keys()
    assert stated["pretrained_cfg"]["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "digits", "--mean", "1", "2"], "--mean: expected 1 value, got 2"),
        (["--model", "digits", "--class-map", "no.txt"], "class map no.txt: No such file"),
        (["--model", "model.r2n"], "model.r2n is a bundle, whose weights are packed"),
        (["--model", "digits", "--output", str(DIGITS)], "digits: it is there already"),
    ],
)
def test_refused(capsys, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "--output", "out", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_into_the_working_directory(tmp_path, monkeypatch):
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["convert", "--model", "digits", "--output", "."]) == 0
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert list(tmp_path.iterdir()) == [folder]
