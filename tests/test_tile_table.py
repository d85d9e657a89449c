"""The table's file: what is written is read again, and what is damaged is refused by name."""

from __future__ import annotations

import json

import pytest
import torch

from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.tiles import TileConfig, TileTable
from r2n_kernels.tile_table import load_tiles, save_tiles

GPU, OTHER = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
KEY = TileTable.key("conv1", torch.float16, m=50176, k=1024, n=416)
TILE = TileConfig(128, 64, 32, 4, 3, registers=128)
FIELDS = {
    "block_m": 128, "block_n": 64, "block_k": 32, "warps": 4, "stages": 3, "registers": 128,
    "parts": 1, "extra": 0,
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiles.json"


def write(path, tile, **changes):
    content = {"schema": 1, "devices": {GPU: {"tiles": {KEY: tile}}}, **changes}
    path.write_text(json.dumps(content))


def test_round_trip(path):
    save_tiles({KEY: TILE}, path, GPU, {"triton": "3.8.0"})
    assert json.loads(path.read_text()) == {
        "schema": 1,
        "devices": {GPU: {"triton": "3.8.0", "tiles": {KEY: FIELDS}}},
    }
    loaded = load_tiles(path, GPU)
    assert loaded.tiles == {KEY: TILE}
    rule = TileConfig(32, 32, 32, 4, 2)
    assert (loaded.get(KEY, rule), loaded.get("conv3 m=1", rule)) == (TILE, rule)


def test_a_table_from_before_register_limits_has_none(path):
    write(path, {name: value for name, value in FIELDS.items() if name != "registers"})
    assert load_tiles(path, GPU).tiles[KEY] == TileConfig(128, 64, 32, 4, 3)


def test_other_devices_stay(path):
    save_tiles({KEY: TILE}, path, OTHER)
    save_tiles({}, path, GPU)
    save_tiles({KEY: TileConfig(32, 32, 32, 4, 2)}, path, GPU)
    assert load_tiles(path, OTHER).tiles == {KEY: TILE}
    assert load_tiles(path, GPU).tiles[KEY].block_m == 32
    assert [file.name for file in path.parent.iterdir()] == ["tiles.json"]


def test_a_damaged_file_is_not_written_over(path):
    path.write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        save_tiles({KEY: TILE}, path, GPU)
    assert path.read_text() == "{"


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: there is no such folder"):
        save_tiles({KEY: TILE}, tmp_path / "nowhere" / "tiles.json", GPU)


def test_an_interrupted_write_leaves_the_old_table(path, monkeypatch):
    save_tiles({KEY: TILE}, path, GPU)
    before = path.read_text()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_tiles({}, path, GPU)
    assert path.read_text() == before
    assert [file.name for file in path.parent.iterdir()] == ["tiles.json"]


@pytest.mark.parametrize(
    ("tile", "reason"),
    [
        (
            {**FIELDS, "swizzle": 2},
            "must have block_k, block_m, block_n, extra, parts, registers, stages, warps; it has",
        ),
        ({"block_m": 128}, "must have block_k, .* it has block_m"),
        ("128x64", "it has '128x64'"),
        ({**FIELDS, "warps": 4.0}, "must have whole numbers"),
        ({**FIELDS, "warps": True}, "must have whole numbers"),
        ({**FIELDS, "block_m": 100}, "block_m must be a power of two from 16, got 100"),
        ({**FIELDS, "warps": 3}, "warps must be 1, 2, 4, 8 or 16, got 3"),
        ({**FIELDS, "stages": 0}, "stages must be at least 1, got 0"),
        ({**FIELDS, "parts": 4}, "parts must be 0 to 3, got 4"),
        ({**FIELDS, "extra": -1}, "extra must be 0 or more, and 0 with 3 parts, got -1"),
        ({**FIELDS, "registers": 16}, "registers must be 0, or 32 to 255 a thread, got 16"),
        ({**FIELDS, "block_k": 128}, "block_k must be at most 64, got 128"),
    ],
)
def test_tiles_that_cannot_be(path, tile, reason):
    write(path, tile)
    with pytest.raises(ConfigError, match=f"tiles.json': '{KEY}'.*{reason}"):
        load_tiles(path, GPU)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged"),
        ('{"schema": 1, "devices"', "is damaged"),
        ("\xff", "is damaged"),
        ("[]", "has schema None, expected 1"),
        ('{"schema": 2, "devices": {}}', "has schema 2, expected 1; run `r2n tune` anew"),
        ('{"schema": 1}', "has no table 'devices'"),
        ('{"schema": 1, "devices": {"a": 1}}', "has no table 'tiles' for the device 'a'"),
        ('{"schema": 1, "devices": {"a": {"tiles": []}}}', "has no table 'tiles'"),
        ('{"schema": 1, "devices": {}}', f"has no device '{GPU}'; it has: none"),
    ],
)
def test_files_that_are_no_table(path, text, reason):
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=reason):
        load_tiles(path, GPU)


def test_a_missing_file_and_a_missing_device(path):
    with pytest.raises(ConfigError, match=r"tiles.json' cannot be read: No such file"):
        load_tiles(path, GPU)
    save_tiles({KEY: TILE}, path, OTHER)
    with pytest.raises(ConfigError, match=f"has no device '{GPU}'; it has: '{OTHER}'"):
        load_tiles(path, GPU)
