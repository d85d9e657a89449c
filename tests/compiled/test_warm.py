"""Kernels compiled beforehand are those that the just-in-time compiler then finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from r2n_kernels.compiled import warm as warming
from r2n_kernels.compiled.instances import FORMS, instances
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.compiled.warm import warm
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.kernels.tiles import TileConfig, TileTable

from .conftest import stem_request

SM90 = TARGETS["sm_90"]
# What a model launches, by the compiler that a launch asks, with a driver that launches nothing
JUST_IN_TIME = """
import dataclasses, sys, torch, triton
from triton.backends.compiler import GPUTarget
from r2n_kernels.compiled.instances import FORMS, Request, _input, instances, specialise
from r2n_kernels.compiled.warm import _Driver, arguments
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.triton_ops import allocate, bind
from r2n_kernels.fold import fold
from r2n_kernels.fold.triton_layout import pack_network
from r2n_kernels.kernels.call import Call
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.reference import Res2Net

hits = []
def heard(src, metadata, metadata_group, times, cache_hit):
    hits.append(cache_hit)
triton.knobs.compilation.listener = heard
triton.runtime.driver.set_active(_Driver(GPUTarget("cuda", 90, 32)))
config = Res2NetConfig((2,), planes=(64,), num_classes=10)
plan = build_plan(config, 2, 64, 64, torch.float16, "triton", target=TARGETS["sm_90"])
with torch.device("meta"):
    state = Res2Net(config).state_dict()
    weights = pack_network(config, fold(config, state, torch.float32), state, torch.float16)
    inputs = [_input(form, plan) for form in FORMS]
    buffers = allocate(plan, torch.device("meta"))
calls = [call for x, scales in inputs for step in plan.steps
         for call in bind(step, {"input": x, **buffers}, weights, scales).calls()]
for call in calls:
    call.kernel.warmup(**call.args, **call.constants, **call.options, grid=(1,))
made = {specialise(call, "sm_90"): call for call in calls}
for instance, call in made.items():
    given = arguments(instance)
    names = call.constants
    again = Call(call.kernel, 1, {k: v for k, v in given.items() if k in call.args}, names,
                 call.warps, call.registers)
    assert specialise(again, "sm_90") == instance, instance
print(len(made), "instances,", hits.count(True), "hits,", hits.count(False), "misses")
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache of Triton's with every kernel of a small network, and what warming it told."""
    folder = tmp_path_factory.mktemp("triton")
    request = stem_request("sm_90", forms=FORMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(folder))
        told = []
        with Pool(2, keep=True) as pool:
            first = warm([request, request], pool, SM90, started=told.append, done=told.clear)
            second = warm([request], pool, SM90)
    return folder, first, second, told


@pytest.mark.slow
def test_a_second_run_finds_everything(kept):
    folder, first, second, told = kept
    assert {result.error for result in first} == {""}
    assert not any(result.found for result in first)
    assert all(result.found for result in second)
    assert {r.instance: r.files for r in first} == {r.instance: r.files for r in second}
    assert all(Path(file).is_relative_to(folder) for r in first for file in r.files)
    assert all(any(file.endswith(".cubin") for file in r.files) for r in first)
    assert len(first) == len({r.instance for r in first}) > 10
    assert told == []  # started, then done
    assert any(folder.rglob("conv1_kernel.cubin"))


@pytest.mark.slow
def test_three_forms_of_input_are_three_kernels(kept):
    names = [r.instance.kernel for r in kept[1]]
    assert names.count("prepare") == len(FORMS)


@pytest.mark.slow
def test_launches_find_them(kept, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(kept[0])
    done = subprocess.run(
        [sys.executable, "-c", JUST_IN_TIME], env=environment, cwd=tmp_path, capture_output=True,
        text=True,
    )  # fmt: skip
    count = len(kept[1])
    assert done.stdout == f"{count} instances, {count} hits, 0 misses\n", done.stderr


@pytest.mark.slow
def test_one_worker_compiles_for_one_target_after_the_other(pool):
    results = {}
    for name in ("sm_90", "sm_80"):
        results[name] = warm([stem_request(name)], pool, TARGETS[name])
        assert not any(result.error for result in results[name])
    texts = [
        Path(file).read_text()
        for result in results["sm_80"] if result.instance.kernel == "conv3"
        for file in result.files if file.endswith(".ptx")
    ]  # fmt: skip
    assert texts
    assert all(".target sm_80" in text for text in texts)


def test_a_kernel_that_does_not_compile_is_told_and_the_rest_goes_on(pool):
    key = TileTable.key("conv1", torch.float16, m=512, k=64, n=128)
    hungry = TileTable({key: TileConfig(128, 64, 64, 4, 3, registers=32)})
    results = warm([stem_request("sm_90", tiles=hungry)], pool, SM90)
    failed = [result for result in results if result.error]
    assert {result.instance.registers for result in failed} == {32}
    assert all("PTXASError" in result.error for result in failed)
    assert len(results) > len(failed) > 0


def test_a_request_without_a_plan_is_a_config_error(pool):
    with pytest.raises(ConfigError, match=r"batch 100000000, torch.float16: ConfigError: 1000"):
        warm([stem_request("sm_90", batch=100_000_000)], pool, SM90)


def test_either_schedule_of_a_stage(pool):
    ((_, answer),) = pool.map(instances, [stem_request("sm_90", either=True)])
    tiles = {i.kernel: i.tile for i, _ in answer if i.kernel.startswith("stage")}
    assert set(tiles) == {"stage_chained", "stage_split"}
    assert len(set(tiles.values())) == 1


def test_stubs_are_for_tritons_that_have_them(monkeypatch):
    """A stub is C code that an older Triton compiles at a kernel's first launch."""
    from triton.backends.nvidia import driver

    made = []
    monkeypatch.setattr(driver, "CudaLauncher", lambda *given: made.append(given))
    kernel = type("Kernel", (), {"src": "source", "metadata": "facts"})()
    monkeypatch.delattr(driver, "make_launcher", raising=False)
    warming._launcher_stub(kernel)
    assert made == []
    monkeypatch.setattr(driver, "make_launcher", None, raising=False)
    warming._launcher_stub(kernel)
    assert made == [("source", "facts")]
