"""A network from its compiled code. It runs in a process where kernels are not interpreted."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from r2n_kernels import create_model, from_timm
from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.manifest import WIDTHS
from r2n_kernels.compiled import network
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.engine import BACKENDS, TritonOptions, build_backend
from r2n_kernels.errors import ConfigError
from r2n_kernels.inputs import scale_and_shift
from r2n_kernels.kernels import device
from r2n_kernels.kernels.targets import TARGETS as GPUS
from r2n_kernels.proof.parity import _run_ours, check_parity, compared, eager_model
from r2n_kernels.proof.tolerance import relative_error
from r2n_kernels.reference import Res2Net, randomize

TINY = Res2NetConfig((2, 1), planes=(20, 24), scale=3, base_width=38, num_classes=10)
SHAPE = (2, 3, 33, 34)  # one for all: what is compiled for it serves them
SM_90 = "sm_90"  # of the bundle, too
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)
ROOT = Path(__file__).parents[2]
WITHOUT = ROOT / "tests" / "compiled" / "without_triton.py"
LAUNCHING = ROOT / "tests" / "bundle" / "launching.py"
TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")


@pytest.fixture(scope="module")
def elsewhere():
    """elsewhere(function, argument): in a process that compiles kernels."""
    with Pool(1) as pool:
        yield lambda function, argument: next(iter(pool.map(function, [argument])))[1]


@pytest.fixture(scope="module")
def tiny():
    return randomize(Res2Net(TINY).eval())


@cache
def model_of(target):
    """In a worker: one serves all its calls, by the code and the processes that it has."""
    model = from_timm(randomize(Res2Net(TINY).eval()), backend=f"ptx:{target}", dtype=torch.float16)
    model.pretrained_cfg = {"mean": MEAN, "std": STD}
    return model


def outputs_of(target, x):
    """Every feature map, the embedding and the logits; in a worker."""
    model = model_of(target)
    outputs = _run_ours(model, x)
    assert model._packed.backend.name == f"ptx:{target}"
    return outputs


def logits_of(target, inputs):
    """What the JIT's PTX makes of each input; in a worker."""
    model = model_of(target)
    return {name: model(x) for name, x in inputs.items()}


@pytest.mark.slow  # by default, test_proving.py has a network on sm_80
@pytest.mark.parametrize("target", [SM_90, "sm_100"])
def test_a_small_network_is_right(target, elsewhere, tiny):
    x = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(0)).half()
    rows = compared(elsewhere(partial(outputs_of, target), x), tiny, x, torch.float16)
    assert {row.verdict.name: row.verdict.passed for row in rows} == {
        **{f"feature {i}": True for i in range(len(TINY.layers) + 1)},
        "embedding": True,
        "logits": True,
    }


@pytest.fixture(scope="module")
def inputs():
    """Two images in each form that a bundle has code for, and in one that is copied first."""
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(2, 3, 33, 34, generator=generator).half()
    return {
        "contiguous": floats,
        "channels_last": floats.contiguous(memory_format=torch.channels_last),
        "sliced": torch.randn(2, 3, 33, 37, generator=generator).half()[..., 1:35],
        "bytes": torch.randint(0, 256, (2, 33, 34, 3), dtype=torch.uint8, generator=generator),
    }


@pytest.fixture(scope="module")
def jit(elsewhere, inputs):
    """What the JIT's code makes of them, then of the bytes as floats, and of the bytes again."""
    scale, shift = scale_and_shift(MEAN, STD, torch.device("cpu"))
    floats = (inputs["bytes"] * scale + shift).half().permute(0, 3, 1, 2)
    more = {"floats": floats, "again": inputs["bytes"]}
    return elsewhere(partial(logits_of, SM_90), {**inputs, **more})


@pytest.mark.slow
def test_bytes_and_repeated_calls(jit):
    assert torch.equal(jit["bytes"], jit["again"])
    assert relative_error(jit["bytes"], jit["floats"]) < 4e-3


@pytest.mark.slow
def test_a_bundles_ptx_gives_the_jits_bits_without_triton(tiny_bundle, jit, inputs, tmp_path):
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "triton.py").write_text("raise ImportError('blocked')")
    torch.save(inputs, tmp_path / "inputs.pt")
    command = [sys.executable, WITHOUT, tiny_bundle, tmp_path / "inputs.pt", tmp_path / "logits.pt"]
    paths = os.pathsep.join([str(tmp_path / "blocked"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "logits.pt")
    assert found.keys() == inputs.keys()
    for name in inputs:
        assert torch.equal(found[name], jit[name]), name
    assert torch.equal(found["contiguous"], found["channels_last"])


@pytest.mark.slow
def test_cubins_take_what_the_manifest_says(tiny_bundle, stand_in, tmp_path):
    """The stand-in driver reads from a cubin how wide each of its parameters is."""
    pytest.importorskip("cuda.bindings")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stand_in), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, LAUNCHING, tiny_bundle, "sm_90", tmp_path / "log"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(tiny_bundle)
    stored = bundle.plan(bundle.manifest.shapes[0])
    wanted = [
        [str(WIDTHS[kind]) for _, kind in launch.code.parameters]
        for step in stored.plan.steps
        for forms in [stored.launches[step.name]]
        for launch in forms.get("", forms.get("contiguous"))
    ]
    log = (tmp_path / "log.contiguous").read_text().splitlines()
    lines = [line.split() for line in log if line.startswith("cuLaunchKernel")]
    found = [[word.partition(":")[0] for word in line[11:]] for line in lines]
    assert found == wanted


def test_names_are_backends():
    assert {f"ptx:{target}" for target in TARGETS} < set(BACKENDS)
    assert "ptx:gfx942" not in BACKENDS


def test_refusals():
    with pytest.raises(ConfigError, match="unknown backend 'ptx:gfx942'"):
        create_model("res2net50_26w_4s", backend="ptx:gfx942")
    with pytest.raises(ConfigError, match=r"options of the triton backend .* 'torch'"):
        create_model("res2net50_26w_4s", backend="torch", triton=TritonOptions())
    with pytest.raises(ConfigError, match=r"dtype must be one of .* got torch\.float64"):
        create_model("res2net50_26w_4s", backend="ptx:sm_90", dtype=torch.float64)


def test_interpreted_kernels_are_refused(monkeypatch, tiny):
    monkeypatch.setattr(device, "interpreted", lambda: True)
    with pytest.raises(ConfigError, match="under TRITON_INTERPRET=1 kernels are interpreted"):
        build_backend("ptx:sm_90", TINY, tiny.state_dict(), torch.float16, torch.device("cpu"))


def test_another_device_is_refused(tiny):
    meta = torch.device("meta")
    with pytest.raises(ConfigError, match="emulates a GPU on the CPU, got device meta"):
        network.PtxBackend(TINY, tiny.state_dict(), torch.float16, meta, "ptx:sm_90")


RESIDENT = ("sm_80", "sm_90", "sm_120")
# the slow ones; test_variants.py has another on sm_90
IN_TURN = {"res2net50_14w_8s": "sm_80", "res2net50d": "sm_120"}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(
            name, target,
            marks=pytest.mark.slow if IN_TURN.get(name) == target else pytest.mark.weekly,
        )
        for name in VARIANTS
        for target in RESIDENT
    ],
)  # fmt: skip
def test_variants_with_resident_chains(name, target, elsewhere):
    """Two blocks of each stage: windows in the first, whole images in the others."""
    eager = randomize(Res2Net(VARIANTS[name].replace(layers=(2, 2, 2, 2))).eval())
    x = torch.randn(3, 3, 64, 72, generator=torch.Generator().manual_seed(0))
    options = TritonOptions(schedule="throughput")
    half = {"dtype": torch.float16, "backend": f"ptx:{target}", "device": "cpu", "triton": options}
    rows = elsewhere(partial(check_parity, eager, **half), x)
    assert [row.verdict for row in rows if not row.verdict.passed] == []
    plan = options.plan(eager.config, 3, 64, 72, torch.float16, GPUS[target])
    assert "resident_stage" in {step.op for step in plan.steps}


def test_chains_may_be_told_to_be_tiled():
    one, two = (
        TritonOptions(schedule="throughput", resident=resident).plan(
            TINY, 2, 33, 34, torch.float16, GPUS["sm_90"]
        )
        for resident in (True, False)
    )
    ops = [{step.op for step in plan.steps} for plan in (one, two)]
    assert ("resident_stage" in ops[0], "resident_stage" in ops[1]) == (True, False)
    (note,) = {step.note for step in two.steps if step.op == "stage"}
    assert note == "tiled: TritonOptions(resident=False) asks for it"


@pytest.mark.weekly
@pytest.mark.parametrize("target", TARGETS)
def test_the_headlines_logits_at_224(target, elsewhere):
    """Elsewhere: test_headline_runs.py its instances, test_bundled_headline.py the network."""
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    eager = eager_model(HEADLINE, "reference")
    check = partial(check_parity, eager, dtype=torch.float16, backend=f"ptx:{target}", device="cpu")
    rows = elsewhere(check, x)
    assert [row.verdict for row in rows if not row.verdict.passed] == []
    assert rows[-1].verdict.name == "logits"
