from __future__ import annotations

import pytest
import torch

from r2n_kernels.cli import main
from r2n_kernels.cli import tune as command
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.tiles import TileConfig
from r2n_kernels.proof.tune import Measurement
from r2n_kernels.tile_table import load_tiles, save_tiles

GPU, OTHER = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
RULE, FAST = TileConfig(128, 64, 32, 4, 3), TileConfig(128, 128, 32, 8, 3)


def result(key: str, best: TileConfig) -> Measurement:
    return Measurement(key, RULE, best, 0.05, 0.05 if best == RULE else 0.04, 12, 1)


def test_the_table_gains_and_loses_tiles(capsys, tmp_path):
    path = str(tmp_path / "tiles.json")
    save_tiles({"a": FAST}, path, OTHER)
    save_tiles({"a": FAST, "b": FAST}, path, GPU, {"triton": "3.7.0"})
    measured = [result("c", FAST), result("a", RULE)]
    command.show_and_keep(measured, path, GPU, {"triton": "3.8.0"})
    # b was not measured anew; a is the rule's again
    assert load_tiles(path, GPU).tiles == {"b": FAST, "c": FAST}
    assert load_tiles(path, OTHER).tiles == {"a": FAST}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "c"
    assert lines[0].endswith(
        "128x64x32 warps 4 stages 3 0.0500 ms -> 128x128x32 warps 8 stages 3 0.0400 ms "
        "(12 tried, 1 refused)"
    )
    assert "->" not in lines[1]
    assert lines[2] == f"{path}: 1 of 2 geometries got a faster tile on {GPU}"


def test_a_run_that_is_stopped_keeps_what_it_has(tmp_path):
    path = str(tmp_path / "tiles.json")

    def stopped():
        yield result("a", FAST)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.show_and_keep(stopped(), path, GPU, {})
    assert load_tiles(path, GPU).tiles == {"a": FAST}


def test_a_table_that_cannot_be_used_ends_it_before_the_work(tmp_path):
    path = tmp_path / "tiles.json"
    path.write_text("{")

    def work():
        pytest.fail("measured in vain")
        yield

    with pytest.raises(ConfigError, match="is damaged"):
        command.show_and_keep(work(), str(path), GPU, {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what a machine without a GPU says")
def test_without_a_gpu(capsys, tmp_path):
    path = tmp_path / "tiles.json"
    assert main(["tune", "--output", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "r2n: error: r2n tune measures on a GPU, and torch finds none here\n"
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "res2net51"], "unknown model 'res2net51'"),
        (["--batch", "0"], "argument --batch: expected a whole number of at least 1"),
        (["--size", "16"], "argument --size: must be at least 32x32"),
        (["--dtype", "int8"], "argument --dtype: invalid choice"),
    ],
)
def test_wrong_arguments(capsys, arguments, reason):
    assert main(["tune", *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu(capsys, tmp_path):
    path = str(tmp_path / "tiles.json")
    arguments = ["--model", "res2net50_26w_4s", "--size", "64", "--batch", "1"]
    assert main(["tune", *arguments, "--output", path]) == 0
    assert "geometries got a faster tile" in capsys.readouterr().out
    load_tiles(path, torch.cuda.get_device_name())
