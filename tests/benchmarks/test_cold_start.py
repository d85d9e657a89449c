"""From process start to first logits; on the CPU through a stand-in for CUDA's driver."""

from __future__ import annotations

import json

import pytest

from r2n_kernels.benchmarks import cold_start
from r2n_kernels.benchmarks.cold_start import ColdStart, main, measure, rows
from r2n_kernels.errors import BundleError, ConfigError, KernelError

from ..bundle import handmade

PARTS = ("python", "import torch", "import r2n_kernels", "open", "weights", "first logits")


@pytest.fixture
def compiler(stand_in):
    pytest.importorskip("cuda.bindings")
    return stand_in


def test_it_measures_the_hosts_part(compiler, small_bundle, tmp_path, capsys):
    told = tmp_path / "cold.json"
    given = [str(small_bundle), "--device", "cpu", "--driver", str(compiler), "--runs", "1"]
    assert main([*given, "--json", str(told)]) == 0
    head, titles, row = capsys.readouterr().out.splitlines()
    assert "sm_80 b2 33x40, " in head
    assert (
        "the host's part alone: a stand-in for CUDA's driver runs no kernel; medians of 1" in head
    )
    assert [part for part in PARTS if part not in titles] == []
    assert row.split()[0] == "bundle"
    found = json.loads(told.read_text())
    assert found["scope"] == cold_start.SCOPES["cpu"]
    (result,) = found["results"]
    assert tuple(result["seconds"]) == PARTS
    assert all(len(runs) == 1 and runs[0] > 0 for runs in result["seconds"].values())
    assert result["peak"] > 10**8
    assert result["gpu_peak"] is None


def test_a_process_that_fails(compiler, small_bundle, monkeypatch):
    monkeypatch.setenv("STAND_IN_FAIL", "cuLaunchKernel 719")
    with pytest.raises(
        KernelError, match=r"(?s)a process failed: .*CUDA_ERROR_LAUNCH_FAILED \(719\)"
    ):
        measure(small_bundle, "cpu", driver=compiler, runs=1)


def test_no_driver_and_no_bundle(small_bundle, tmp_path, capsys):
    with pytest.raises(ConfigError, match="a stand-in driver belongs to the CPU"):
        measure(small_bundle, "cpu")
    with pytest.raises(ConfigError, match="a stand-in driver belongs to the CPU"):
        measure(small_bundle, "cuda", driver=tmp_path)
    with pytest.raises(ConfigError, match=r"has no libcuda\.so\.1"):
        measure(small_bundle, "cpu", driver=tmp_path)
    (tmp_path / "libcuda.so.1").touch()
    with pytest.raises(BundleError, match="no such file"):
        measure(tmp_path / "none.r2n", "cpu", driver=tmp_path)
    assert main([str(small_bundle), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("error: a stand-in driver belongs to the CPU")


def test_a_gpu_stands_beside_the_jit(small_bundle, monkeypatch):
    """The first processes find no cache, the last ones that of the first."""
    asked = []

    def child(arguments, environment):
        asked.append((arguments[1], arguments[3], environment["TRITON_CACHE_DIR"]))
        return {"shape": "s", "seconds": dict.fromkeys(PARTS, 1.0), "peak": len(asked),
                "gpu peak": 7}  # fmt: skip

    monkeypatch.setattr(cold_start, "_child", child)
    bundle, cold, warm = measure(small_bundle, "cuda", runs=2)
    assert [one.subject for one in (bundle, cold, warm)] == [
        "bundle", "JIT, no cache", "JIT, its cache"
    ]  # fmt: skip
    assert [backend for _, backend, _ in asked] == ["bundle"] * 2 + ["triton"] * 4
    first, second = (cache for _, _, cache in asked[2:4])
    assert first != second
    assert [cache for _, _, cache in asked[4:]] == [first, first]
    assert (bundle.peak, cold.peak, warm.gpu_peak) == (2, 4, 7)
    assert len({device for device, _, _ in asked}) == 1


def test_medians_are_of_the_runs():
    seconds = {"python": [1.0, 2.0, 9.0], "import torch": [1.0, 1.0, 1.0], "open": [3.0, 1.0, 0.5]}
    one = ColdStart("bundle", "s", seconds, 5_000_000, None)
    assert one.totals == [5.0, 4.0, 10.5]
    assert one.after_torch == 1.0
    titles, row = rows([one])
    assert titles == ["ms", *seconds, "in all", "after torch", "peak MB", "tensors MB"]
    assert row == ["bundle", "2000", "1000", "1000", "5000", "1000", "5", "-"]


def test_a_bundle_without_weights(compiler, tmp_path):
    path = tmp_path / "bare.r2n"
    handmade.make(path, weights=False)
    with pytest.raises(KernelError, match="has no weights; pass a checkpoint"):
        measure(path, "cpu", driver=compiler, runs=1)
