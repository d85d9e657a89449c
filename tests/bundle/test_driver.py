"""What CUDA's driver is asked, by a stand-in that writes it down: just what the manifest says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from r2n_kernels.bundle import driver, open_bundle
from r2n_kernels.bundle.manifest import WIDTHS
from r2n_kernels.errors import BundleError

from .launching import STATUS

SCRIPT = Path(__file__).with_name("launching.py")
ROOT = SCRIPT.parents[2]
TARGET = "sm_90"
SHARED_LIMIT = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, cuda.h
PREFER_SHARED = 1  # CU_FUNC_CACHE_PREFER_SHARED
NUM_REGS = 4  # CU_FUNC_ATTRIBUTE_NUM_REGS
CONTEXT = ["cuCtxGetCurrent"]
NEW_CONTEXT = [*CONTEXT, "cuDevicePrimaryCtxRetain 0", "cuCtxSetCurrent"]


@pytest.fixture(scope="module")
def seen(small_bundle, stand_in, tmp_path_factory):
    """What a process did with the bundle, and the driver's lines by run."""
    pytest.importorskip("cuda.bindings")
    log = tmp_path_factory.mktemp("log") / "log"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stand_in), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, SCRIPT, small_bundle, TARGET, log],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = {p.suffix[1:]: p.read_text().splitlines() for p in log.parent.iterdir()}
    return SimpleNamespace(**json.loads(done.stdout), lines=lines)


@pytest.fixture(scope="module")
def stored(small_bundle):
    bundle = open_bundle(small_bundle)
    return bundle.plan(next(s for s in bundle.manifest.shapes if s.target == TARGET))


def launch_line(launch, tensors, itemsizes) -> str:
    """What the driver gets for a launch: its code's facts, and eight or four bytes a parameter."""
    code = launch.code
    values = []
    for name, kind in code.parameters:
        value = launch.args[name] if name else 0
        if isinstance(value, tuple):
            tensor, start, _ = value
            value = tensors[tensor] + start * itemsizes.get(tensor, 2)
        values.append(f"{WIDTHS[kind]}:{value % 2 ** (8 * WIDTHS[kind]):x}")
    facts = f"{launch.grid} 1 1 {32 * code.warps} 1 1 {code.shared} (nil) 0"
    return f"cuLaunchKernel {code.entry} {facts} {' '.join(values)}"


def launches(stored, run, form, x=None) -> list[str]:
    """The lines of a forward pass, in its order."""
    found = []
    for step in stored.plan.steps:
        facts, buffers = stored.facts[step.op], {**run["buffers"], **({"input": x} if x else {})}
        weights = run["weights"].get(step.name, {})
        given = [buffers[name] for name in (*step.reads, *step.writes)]
        given += [weights.get(part) for part in ("weight", "bias", "shortcut")]
        names = (*facts.reads, *facts.writes, *facts.weights)
        tensors = {**dict(zip(names, given, strict=False)), **run["normalization"]}
        sizes = {"b": 4, "scale": 4, "shift": 4}
        sizes |= {"x": 1} if form == "bytes" and step.op == "prepare" else {}
        of_form = stored.launches[step.name]
        found += [launch_line(one, tensors, sizes) for one in of_form.get("", of_form.get(form))]
    return found


def only(lines, *calls) -> list[str]:
    return [line for line in lines if line.split()[0] in calls]


@pytest.mark.parametrize("form", ["contiguous", "channels_last", "bytes"])
def test_launches_are_those_of_the_manifest(form, seen, stored):
    found = only(seen.lines[form], "cuLaunchKernel")
    assert found == launches(stored, seen.runs[form], form)
    assert len(found) >= len(stored.plan.steps)
    assert seen.runs[form]["shape"] == [2, 7]


def test_a_sliced_input_is_copied_into_a_form(seen, stored):
    """Its first launch alone differs: in where the copy lies, which is aligned."""
    (prepare, *rest), run = only(seen.lines["sliced"], "cuLaunchKernel"), seen.runs["sliced"]
    copy = int(prepare.split()[11].partition(":")[2], 16)
    assert copy != run["buffers"]["input"]
    assert copy % 16 == 0
    assert [prepare, *rest] == launches(stored, run, "contiguous", x=copy)


def test_code_is_loaded_once_and_asks_for_its_shared_memory(seen, stored):
    names = "cuModuleLoadData", "cuModuleGetFunction"
    names += "cuFuncSetAttribute", "cuFuncGetAttribute", "cuFuncSetCacheConfig"
    first = only(seen.lines["contiguous"], *names)
    wanted = []
    forms = [stored.launches[step.name] for step in stored.plan.steps]
    for code in dict.fromkeys(
        launch.code for of in forms for launch in of.get("", of.get("contiguous"))
    ):
        wanted += ["cuModuleLoadData", f"cuModuleGetFunction {code.entry}"]
        if code.shared > 48 * 1024:
            wanted.append(f"cuFuncSetAttribute {code.entry} {SHARED_LIMIT} {code.shared}")
            wanted.append(f"cuFuncSetCacheConfig {code.entry} {PREFER_SHARED}")
        wanted.append(f"cuFuncGetAttribute {code.entry} {NUM_REGS}")
    assert sorted(first) == sorted(wanted)
    assert any("cuFuncSetAttribute" in line for line in first)
    assert only(seen.lines["again"], *names) == []
    assert len(only(seen.lines["bytes"], "cuModuleLoadData")) == 1  # another first kernel


def test_all_is_loaded_before_the_first_launch(seen):
    calls = [line.split()[0] for line in seen.lines["contiguous"]]
    assert "cuModuleLoadData" not in calls[calls.index("cuLaunchKernel") :]


def test_a_thread_without_a_context_gets_the_devices(seen):
    contexts = {line.split()[0] for line in NEW_CONTEXT}
    assert only(seen.lines["contiguous"], *contexts) == NEW_CONTEXT + CONTEXT
    assert only(seen.lines["again"], *contexts) == CONTEXT * 2


def test_all_went_without_a_compiler(seen):
    """Neither Triton's nor torch's own, whose import takes longer than all else after torch's."""
    assert seen.loaded == []


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("cuCtxGetCurrent", "CUDA_ERROR_DEINITIALIZED"),
        ("cuDevicePrimaryCtxRetain", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuCtxSetCurrent", "CUDA_ERROR_INVALID_CONTEXT"),
        ("cuModuleLoadData", "CUDA_ERROR_INVALID_IMAGE"),
        ("cuModuleGetFunction", "CUDA_ERROR_NOT_FOUND"),
        ("cuFuncSetAttribute", "CUDA_ERROR_INVALID_VALUE"),
        ("cuFuncGetAttribute", "CUDA_ERROR_INVALID_VALUE"),
        ("cuFuncSetCacheConfig", "CUDA_ERROR_INVALID_VALUE"),
        ("cuLaunchKernel", "CUDA_ERROR_LAUNCH_FAILED"),
    ],
)
def test_a_failure_is_told_in_the_drivers_words(call, name, seen):
    error = seen.failures[call]
    subject = "device cpu" if "Ctx" in call else "_kernel"
    assert error.startswith("KernelError: ")
    assert f"{subject}: the driver says {name} ({STATUS[call]})" in error
    assert error.count("KernelError") == 1


def test_without_cuda_bindings(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BundleError, match=r"a bundle is launched through cuda\.bindings"):
        driver.cuda_driver()
