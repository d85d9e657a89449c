from __future__ import annotations

import json

import pytest

from r2n_kernels import list_models
from r2n_kernels.cli import main


def test_table(capsys):
    assert main(["models"]) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["name", "params", "M", "GMACs", "activations", "M"]
    assert [row.split()[0] for row in rows] == list_models()
    assert "res2net101_26w_4s         45.2    8.07           18.4" in rows
    assert err == ""


def test_json_is_exact(capsys):
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list_models()
    assert rows["res2net101_26w_4s"] == {
        "name": "res2net101_26w_4s",
        "height": 224,
        "width": 224,
        "parameters": 45_206_688,
        "macs": 8_066_974_464,
        "activations": 18_446_168,
    }


def test_size(capsys):
    assert main(["models", "--json", "--size", "64x96"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["height"], row["width"]) == (64, 96)


@pytest.mark.parametrize("size", ["16", "abc", "-1", "0", "64x"])
def test_wrong_size(capsys, size):
    assert main(["models", "--size", size]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "r2n models: error: argument --size: " in err
    assert f"got '{size}'" in err
