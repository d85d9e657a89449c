"""Which backend runs: chosen, asked for, or fallen back to."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import triton
from torch import Tensor
from triton.compiler import CompiledKernel, compiler

from r2n_kernels import ConfigError, create_model, engine, from_timm
from r2n_kernels.config import HEADLINE, Res2NetConfig
from r2n_kernels.engine import TritonOptions, backend_class, build_backend, workspace
from r2n_kernels.engine.workspace import Workspace
from r2n_kernels.errors import BundleError, KernelError
from r2n_kernels.fold import triton_layout
from r2n_kernels.kernels import device
from r2n_kernels.kernels.call import Call
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1,), planes=(13,), num_classes=5)
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
interpreted = pytest.mark.skipif(not device.interpreted(), reason="for machines without a GPU")


@pytest.fixture(scope="module")
def reference(randomize) -> Res2Net:
    return randomize(Res2Net(SMALL)).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 32, 32)


def test_auto_takes_openvino_on_a_cpu_where_it_is_installed_and_says_so(reference, caplog):
    with caplog.at_level(logging.INFO, "r2n_kernels.engine"):
        backend = build_backend("auto", SMALL, reference.state_dict(), torch.float32, CPU)
    assert backend.name == "openvino"
    assert "backend 'openvino': it is installed, and the fastest on a CPU" in caplog.text


def test_auto_takes_torch_on_a_cpu_without_openvino_and_says_why(reference, caplog, monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with caplog.at_level(logging.DEBUG, "r2n_kernels.engine"):
        backend = build_backend("auto", SMALL, reference.state_dict(), torch.float32, CPU)
    assert backend.name == "torch"
    assert "OpenVINO, which is faster on a CPU, is not installed" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_auto_takes_torch_for_what_openvino_cannot_run():
    name, reason = engine.choose_backend(CPU, torch.float16)
    assert name == "torch"
    assert reason == "OpenVINO runs torch.float32 and torch.bfloat16 on a CPU, got torch.float16"


def test_auto_takes_triton_on_a_supported_gpu(monkeypatch):
    backend_class("triton")  # imported now, it keeps the true `interpreted`
    monkeypatch.setattr(engine, "target_of", lambda _: TARGETS["sm_90"])
    monkeypatch.setattr(device, "interpreted", lambda: False)
    monkeypatch.setattr(triton, "__version__", "3.7.1")
    assert engine.choose_backend(CUDA) == ("triton", "H100 (sm_90)")
    monkeypatch.setattr(device, "interpreted", lambda: True)
    assert engine.choose_backend(CUDA) == (
        "torch",
        "TRITON_INTERPRET=1 runs the kernels on the CPU",
    )


@pytest.mark.parametrize("target", ["sm_90", "sm_100"])
def test_auto_takes_torch_where_triton_leaves_a_fence_out(monkeypatch, target):
    backend_class("triton")
    monkeypatch.setattr(engine, "target_of", lambda _: TARGETS[target])
    monkeypatch.setattr(device, "interpreted", lambda: False)
    monkeypatch.setattr(triton, "__version__", "3.6.0")
    name, reason = engine.choose_backend(CUDA)
    assert name == "torch"
    assert reason.startswith("Triton 3.6.0 leaves out fence.proxy.async between cp.async and the")
    monkeypatch.setattr(engine, "target_of", lambda _: TARGETS["sm_80"])
    assert engine.choose_backend(CUDA)[0] == "triton"


def test_the_kernels_say_what_is_missing_when_they_are_asked_for(monkeypatch, reference, caplog):
    from r2n_kernels.engine import triton_backend

    monkeypatch.setattr(triton_backend, "kernel_target", lambda _: TARGETS["sm_90"])
    monkeypatch.setattr(triton_layout.PackedConv, "changed", lambda conv, change: conv)
    for version, told in (("3.6.0", True), ("3.7.1", False)):
        monkeypatch.setattr(triton, "__version__", version)
        caplog.clear()
        build_backend("triton", SMALL, reference.state_dict(), torch.float16, CUDA)
        assert ("leaves out fence.proxy.async" in caplog.text) == told
        assert ("`r2n selftest` checks the results here" in caplog.text) == told


def test_auto_takes_torch_on_an_old_gpu_and_says_why(monkeypatch):
    monkeypatch.setattr(engine, "target_of", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    name, reason = engine.choose_backend(CUDA)
    assert name == "torch"
    assert reason == "the kernels need compute capability 8.0 or gfx9, this is Tesla V100"


def test_without_triton_auto_takes_torch_and_triton_is_an_error(monkeypatch, reference):
    monkeypatch.setattr(engine, "target_of", lambda _: TARGETS["sm_90"])
    monkeypatch.setitem(sys.modules, "r2n_kernels.engine.triton_backend", None)
    assert engine.choose_backend(CUDA)[0] == "torch"
    with pytest.raises(ConfigError, match="backend 'triton' needs Triton"):
        build_backend("triton", SMALL, reference.state_dict(), torch.float32, CPU)


@interpreted
def test_triton_on_the_cpu_without_the_interpreter_is_an_error(tmp_path):
    code = "import r2n_kernels as r; r.create_model('res2net50_26w_4s', backend='triton')"
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigError: backend 'triton' needs an NVIDIA GPU" in done.stderr
    assert "got device cpu; on the CPU TRITON_INTERPRET=1 runs it" in done.stderr


@interpreted
def test_a_compile_failure_falls_back_under_auto(reference, image, monkeypatch, caplog):
    monkeypatch.setattr(Workspace, "compile", _fail)
    model = from_timm(reference, backend="triton")
    model.backend_name = "auto"
    assert torch.allclose(model(image), reference(image), atol=1e-5)
    assert "the torch backend takes over: conv1_kernel does not compile" in caplog.text
    assert model._packed.backend.name == "torch"


@interpreted
def test_a_compile_failure_is_an_error_under_triton(reference, image, monkeypatch):
    monkeypatch.setattr(Workspace, "compile", _fail)
    model = from_timm(reference, backend="triton")
    with pytest.raises(KernelError, match="conv1_kernel does not compile"):
        model(image)


@pytest.fixture
def too_large(monkeypatch) -> Call:
    """A kernel that compiles, and that Triton's own loader finds too large for the GPU."""
    compiled = object.__new__(CompiledKernel)
    compiled.__dict__.update(
        module=None, _run=None, src=None, metadata=SimpleNamespace(shared=240_000)
    )
    gpu = SimpleNamespace(get_current_device=lambda: 0, launcher_cls=lambda *_: None)
    monkeypatch.setattr(compiler, "driver", SimpleNamespace(active=gpu))
    monkeypatch.setattr(compiler, "max_shared_mem", lambda _: 232_448)
    monkeypatch.setattr(device, "interpreted", lambda: False)
    kernel = SimpleNamespace(__name__="conv1_kernel", warmup=lambda **_: compiled)
    return Call(kernel, 1, {}, {}, 8)


def test_a_binary_that_does_not_fit_is_a_compile_failure(too_large):
    """Also for the next model, and the next tile that comes to the same kernel."""
    for _ in range(2):
        with pytest.raises(KernelError, match="conv1_kernel does not compile here: OutOfResourc"):
            workspace.compile_call(too_large)


def test_damaged_code_of_a_bundle_is_no_compile_failure():
    def damaged():
        raise BundleError("model.r2n is damaged")

    call = SimpleNamespace(name="conv1_kernel", compile=damaged)
    with pytest.raises(BundleError, match=r"^model\.r2n is damaged"):
        workspace.compile_call(call)


def test_options_for_another_backend_are_refused(reference):
    with pytest.raises(ConfigError, match="options of the triton backend were given for"):
        from_timm(reference, backend="torch", triton=TritonOptions())


def test_unknown_backend():
    with pytest.raises(ConfigError, match="unknown backend 'cuda'; expected one of auto, torch"):
        create_model(HEADLINE, backend="cuda")


def _fail(self: Workspace, x: Tensor, normalization: None, wanted: list[str]) -> None:
    raise KernelError("conv1_kernel does not compile here: PTXASError: out of registers")
