from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from r2n_kernels.cli import main, warm
from r2n_kernels.compiled.warm import Warmed
from r2n_kernels.compiled.warm import triton_cache as triton_cache_folder
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.proof.networks import full_setup
from r2n_kernels.tile_table import save_tiles

DIGITS = ("warm", "--model", "digits", "--batch", "2", "--size", "32")
H200 = dataclasses.replace(TARGETS["sm_90"], sms=99, chip="NVIDIA H200")


@pytest.fixture(autouse=True)
def triton_cache(monkeypatch, tmp_path):
    """A cache of each test's own."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is there for those who ask about it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old one")
    return lambda target: monkeypatch.setattr(warm, "target_of", lambda _: target)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What would be compiled; nothing is, but for an empty file."""
    found, file = {}, tmp_path / "conv1_kernel.cubin"
    file.touch()

    def keep(requests, pool, chip, *, stubs, started, done):
        found.update(requests=requests, chip=chip, stubs=stubs, times=found.get("times", 0) + 1)
        return [Warmed(None, 1.0, False, (str(file),))]

    monkeypatch.setattr("r2n_kernels.compiled.warm.warm", keep)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("one_pool")
def test_compiles_for_a_named_target(capsys):
    assert main([*DIGITS, "--target", "sm_80"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("warm: ")
    assert " kernels for A100 (sm_80): " in line
    assert ", 0 failed; " in line


def test_a_machine_without_a_gpu_needs_a_target(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*DIGITS]) == 2
    assert "torch finds no GPU here: name one with --target" in capsys.readouterr().err


def test_an_old_gpu_is_refused(capsys, gpu):
    gpu(None)
    assert main([*DIGITS]) == 2
    assert "need compute capability 8.0 or gfx9, this is an old one" in capsys.readouterr().err


def test_this_machine_s_gpu_decides_about_tiles(gpu, asked):
    gpu(H200)
    assert main([*DIGITS, "--dtype", "float16", "bfloat16"]) == 0
    assert (asked["chip"], asked["stubs"]) == (H200, True)
    assert {(r.target, r.chip) for r in asked["requests"]} == {("sm_90", H200)}
    assert [r.dtype for r in asked["requests"]] == [torch.float16, torch.bfloat16]
    assert {len(r.forms) for r in asked["requests"]} == {3}


def test_the_self_test_s_launches(asked):
    assert main([*DIGITS, "--target", "sm_90", "--selftest"]) == 0
    assert not asked["stubs"]
    _, *more = asked["requests"]
    assert {r.batch for r in more} == {1, 2, 8}
    assert {r.dtype for r in more} == {torch.float16, torch.bfloat16, torch.float32}
    assert sum(r.either for r in more) == 3 * len(full_setup(torch.device("cpu")).forwards)


class TestAgain:
    WORDS = (*DIGITS, "--target", "sm_90")

    def test_the_same_finds_its_files_and_starts_nothing(self, asked, capsys, triton_cache):
        assert main([*self.WORDS]) == main([*self.WORDS]) == 0
        assert asked["times"] == 1
        *_, told = capsys.readouterr().out.splitlines()
        assert told == f"warm: 1 kernels for H100 (sm_90): there already; {triton_cache}"

    def test_a_missing_file_is_made_again(self, asked, tmp_path):
        assert main([*self.WORDS]) == 0
        (tmp_path / "conv1_kernel.cubin").unlink()
        assert main([*self.WORDS]) == 0
        assert asked["times"] == 2

    @pytest.mark.parametrize("damage", ["", "{", "[1]", "7", "\0"])
    def test_a_damaged_note_is_none(self, asked, triton_cache, damage):
        assert main([*self.WORDS]) == 0
        (note,) = triton_cache.glob("r2n-warm-*.json")
        note.write_text(damage)
        assert main([*self.WORDS]) == 0
        assert asked["times"] == 2

    @pytest.mark.parametrize(
        "more", [["--size", "64"], ["--dtype", "bfloat16"], ["--batch", "3"], ["--selftest"],
                 ["--schedule", "latency"], ["--target", "sm_80"]],
    )  # fmt: skip
    def test_anything_else_is_another_run(self, asked, more):
        assert main([*self.WORDS]) == main([*self.WORDS, *more]) == 0
        assert asked["times"] == 2

    def test_so_is_another_plan(self, asked, monkeypatch):
        assert main([*self.WORDS]) == 0
        monkeypatch.setattr("r2n_kernels.compiled.warm.toolchain", lambda _: "newer kernels")
        assert main([*self.WORDS]) == 0
        assert asked["times"] == 2

    def test_what_failed_is_not_noted(self, monkeypatch, triton_cache):
        broken = Warmed(type("I", (), {"name": "conv1 14x14"})(), 0.0, False, error="no")
        monkeypatch.setattr("r2n_kernels.compiled.warm.warm", lambda *_, **__: [broken])
        assert main([*self.WORDS]) == 1
        assert not list(triton_cache.glob("*"))

    def test_triton_s_home_holds_its_cache(self, monkeypatch, tmp_path):
        monkeypatch.delenv("TRITON_CACHE_DIR")
        monkeypatch.setenv("TRITON_HOME", str(tmp_path))
        assert triton_cache_folder() == tmp_path / ".triton" / "cache"


class TestTiles:
    def test_of_the_only_device(self, asked, tmp_path):
        save_tiles({}, tmp_path / "tiles.json", "NVIDIA H200")
        words = ["--target", "sm_90", "--tiles", str(tmp_path / "tiles.json")]
        assert main([*DIGITS, *words]) == 0
        assert asked["requests"][0].tiles.tiles == {}

    def test_of_this_machine_s_gpu(self, gpu, asked, tmp_path):
        gpu(H200)
        save_tiles({}, tmp_path / "tiles.json", "NVIDIA H200")
        save_tiles({}, tmp_path / "tiles.json", "NVIDIA L40")
        assert main([*DIGITS, "--tiles", str(tmp_path / "tiles.json")]) == 0

    def test_of_which_device(self, tmp_path):
        path = tmp_path / "tiles.json"
        save_tiles({}, path, "NVIDIA H200")
        save_tiles({}, path, "NVIDIA L40")
        with pytest.raises(ConfigError, match="one device; it has: NVIDIA H200, NVIDIA L40"):
            warm.tiles_of(str(path), TARGETS["sm_90"])

    def test_none(self, tmp_path):
        path = tmp_path / "tiles.json"
        path.write_text(json.dumps({"schema": 1, "devices": {}}))
        with pytest.raises(ConfigError, match="one device; it has: none"):
            warm.tiles_of(str(path), TARGETS["sm_90"])


def test_failures_are_named_and_exit_with_1(capsys, monkeypatch):
    broken = Warmed(type("I", (), {"name": "conv1 14x14"})(), 0.0, False, error="PTXASError: no")
    monkeypatch.setattr("r2n_kernels.compiled.warm.warm", lambda *_, **__: [broken])
    assert main([*DIGITS, "--target", "sm_90"]) == 1
    out = capsys.readouterr().out
    assert "conv1 14x14: PTXASError: no\n" in out
    assert "0 compiled, 0 there already, 1 failed" in out


def test_an_old_triton_is_a_usage_error(capsys, monkeypatch):
    monkeypatch.setattr("r2n_kernels.kernels.versions.triton.__version__", "3.2.0")
    assert main([*DIGITS, "--target", "sm_90"]) == 2
    assert "r2n warm needs Triton: the kernels need Triton 3.4" in capsys.readouterr().err
