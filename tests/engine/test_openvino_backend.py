"""The OpenVINO backend is held to the torch backend, whose sums and NaN rule are its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from r2n_kernels import ConfigError, KernelError, from_timm
from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.engine import build_backend, openvino_compile, openvino_networks
from r2n_kernels.engine.openvino_backend import OpenVinoBackend
from r2n_kernels.engine.openvino_graph import ANY
from r2n_kernels.engine.torch_backend import TorchBackend
from r2n_kernels.inputs import scale_and_shift
from r2n_kernels.proof.tolerance import relative_error
from r2n_kernels.reference import Res2Net

CPU = torch.device("cpu")
SMALL = Res2NetConfig(layers=(1, 2, 1), planes=(9, 14, 20), num_classes=7)
NORMALIZATION = scale_and_shift((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), CPU)
CHAIN = ("conv", "add", "conv", "add", "conv")
EVERYTHING = ("logits", "embedding")


@pytest.fixture(scope="module")
def state(randomize) -> dict[str, Tensor]:
    return randomize(Res2Net(SMALL)).state_dict()


@pytest.fixture
def backend(state) -> OpenVinoBackend:
    return OpenVinoBackend(SMALL, state, torch.float32, CPU)


@pytest.fixture(scope="module")
def twin(state) -> TorchBackend:
    return TorchBackend(SMALL, state, torch.float32, CPU)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def run(backend, x: Tensor, *wanted: str, normalization=None) -> list[Tensor]:
    plan = backend.plan(x.shape[0], *x.shape[2:])
    names = wanted or [*EVERYTHING, *plan.features]
    return backend.run(plan, x, names, normalization)


def images(n: int, height: int = 40, width: int = 56, channels: int = 3) -> Tensor:
    return torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(n))


def as_bytes(n: int, height: int = 40, width: int = 56) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


def assert_alike(found: list[Tensor], expected: list[Tensor], limit: float = 1e-5) -> None:
    for actual, wanted in zip(found, expected, strict=True):
        assert actual.shape == wanted.shape
        assert actual.stride() == wanted.stride()
        assert relative_error(actual, wanted) <= limit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, (5, 97, 65)) for name in VARIANTS),
        (HEADLINE, (1, 224, 224)),
        *(
            pytest.param(name, (1, 224, 224), marks=pytest.mark.weekly)
            for name in VARIANTS
            if name != HEADLINE
        ),
    ],
    ids=str,
)
def test_every_variant_equals_timms(name, shape, randomize):
    timm = pytest.importorskip("timm")
    peer = randomize(timm.create_model(name)).eval()
    model = from_timm(peer, backend="openvino")
    x = images(*shape)
    with torch.no_grad():
        expected = [*peer.forward_intermediates(x, intermediates_only=True), peer(x)]
    found = [*model.forward_intermediates(x, intermediates_only=True), model(x)]
    for actual, wanted in zip(found, expected, strict=True):
        assert relative_error(actual, wanted) <= 1e-5


@pytest.mark.parametrize("batch", [1, 3, 4, 7])
def test_it_gives_the_torch_backends_numbers(batch, backend, twin):
    for _ in range(3):  # compiled for any size, then for this one
        assert_alike(run(backend, images(batch)), run(twin, images(batch)))
    x = as_bytes(batch)
    found = run(backend, x, "logits", normalization=NORMALIZATION)
    assert_alike(found, run(twin, x, "logits", normalization=NORMALIZATION))


def test_bfloat16_is_as_near_as_the_torch_backends(state, randomize):
    if openvino_compile.unsupported(torch.bfloat16, CPU):
        pytest.skip("this CPU has no bfloat16 for OpenVINO")
    ours, torchs = (
        kind(SMALL, state, torch.bfloat16, CPU) for kind in (OpenVinoBackend, TorchBackend)
    )
    reference = randomize(Res2Net(SMALL)).double().eval()
    x = images(4).bfloat16()
    with torch.no_grad():
        exact = reference(x.double())
    (found,), (other,) = run(ours, x, "logits"), run(torchs, x, "logits")
    assert found.dtype == torch.bfloat16
    assert relative_error(found, exact) <= 2 * relative_error(other, exact)


def test_strides_do_not_matter_and_inputs_stay_untouched(backend):
    x = images(4)
    (expected,) = run(backend, x, "logits")
    before = x.clone()
    views = {
        "channels_last": x.to(memory_format=torch.channels_last),
        "sliced": torch.cat([x, x], dim=3)[..., :56],
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
    }
    for name, view in views.items():
        assert torch.equal(run(backend, view, "logits")[0], expected), name
    assert torch.equal(x, before)


def test_outputs_belong_to_the_caller(backend):
    first = run(backend, images(4))
    kept = [y.clone() for y in first]
    run(backend, images(4) * 3)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))
    first[0].zero_()
    assert not run(backend, images(4))[0].eq(0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_bad_images_run_as_in_pytorch_and_others_as_before(value, backend, twin):
    x = images(6)
    clean = run(backend, x)
    x[2, 1, 20, 20] = value
    found, expected = run(backend, x), run(twin, x)
    others = [0, 1, 3, 4, 5]
    for actual, wanted, before in zip(found, expected, clean, strict=True):
        assert torch.equal(actual[others], before[others])
        torch.testing.assert_close(actual[2], wanted[2], rtol=1e-5, atol=1e-5, equal_nan=True)


def test_an_overflow_inside_is_seen(randomize):
    network = randomize(Res2Net(SMALL)).eval()
    with torch.no_grad():
        for block in (network.layer1[0], network.layer2[0]):
            block.conv3.weight *= 1e25
    backend = OpenVinoBackend(SMALL, network.state_dict(), torch.float32, CPU)
    assert len(backend._networks.looks) >= 1
    x = images(2)
    with torch.no_grad():
        expected = network(x)
    assert expected.isnan().all()
    assert run(backend, x, "logits")[0].isnan().all()


def test_the_first_shape_and_those_that_return_have_their_own_network(backend):
    def kept() -> list[tuple[int, ...]]:
        return [kind.shape for kind in backend._networks._kept]

    run(backend, images(1), "logits")
    assert kept() == [(1, 40, 56, 3)]
    run(backend, images(1, 33, 33), "logits")
    run(backend, images(2, 48, 32), "logits")
    assert kept() == [(1, 40, 56, 3), (ANY, ANY, ANY, 3)]
    run(backend, images(2, 48, 32), "logits")
    assert kept() == [(ANY, ANY, ANY, 3), (2, 48, 32, 3)]
    run(backend, images(9), "logits")
    assert kept() == [(2, 48, 32, 3), (openvino_networks.PART, 40, 56, 3)]


def test_shapes_in_turn_do_not_compile_for_ever(backend, monkeypatch):
    compiled = []
    compile_graph = openvino_networks.compile_graph
    monkeypatch.setattr(
        openvino_networks, "compile_graph", lambda *how: compiled.append(1) or compile_graph(*how)
    )
    for _ in range(4):
        for batch in (1, 2, 3, 8):
            run(backend, images(batch, 32, 32), "logits")
    before = len(compiled)
    for batch in (1, 2, 3, 8):
        run(backend, images(batch, 32, 32), "logits")
    assert len(compiled) == before


def test_embedding_logits_and_last_map_share_a_network(backend):
    for wanted in EVERYTHING:
        run(backend, images(1), wanted)
    run(backend, images(1), backend.plan(1, 40, 56).features[-1])
    assert len(backend._networks._kept) == 1


def test_threads_share_a_backend(backend, twin):
    batches = [images(n) for n in (1, 4, 5, 8)]
    expected = [run(twin, x, "logits")[0] for x in batches]
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(8):
            at = (number + i) % len(batches)
            if relative_error(run(backend, batches[at], "logits")[0], expected[at]) > 1e-5:
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FORKS = """
import logging, os, signal, sys
import torch
from r2n_kernels import ConfigError, from_timm
from r2n_kernels.engine import choose_backend
from r2n_kernels.reference import Res2Net
from r2n_kernels.config import Res2NetConfig

logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
torch.set_num_threads(2)
network = Res2Net(Res2NetConfig(layers=(1, 1), planes=(9, 14), num_classes=5)).eval()
model = from_timm(network)
batches = [torch.randn(n, 3, 40, 40) for n in (1, 8)]
before = [model(x) for x in batches]  # in one request, and in streams
child = os.fork()
signal.alarm(60)
if not child:
    torch.set_num_threads(1)  # as workers of a DataLoader do: OpenMP's threads are lost, too
    assert all(torch.equal(model(x), y) for x, y in zip(batches, before))
    assert choose_backend(torch.device("cpu"))[0] == "torch"
    assert torch.allclose(from_timm(network)(batches[1]), before[1], atol=1e-5)
    sys.stdout.flush()
    os._exit(7)  # as multiprocessing does: OpenVINO's destructors wait for threads
sick = torch.full((1, 3, 40, 40), float("nan"))
model(sick)  # the torch backend is there before the next fork
second = os.fork()
if not second:
    torch.set_num_threads(1)
    assert model.plan(1, 40, 40).backend == "torch"
    model(batches[0])
    sys.stdout.flush()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 7
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert torch.equal(model(batches[1]), before[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_forks_run_by_torch_and_say_so():
    found = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("the torch backend takes over: OpenVINO was loaded before") == 2


def test_a_failed_request_is_not_lent_again(backend, monkeypatch):
    run(backend, images(4), "logits")
    (network,) = backend._networks._kept.values()
    with pytest.raises(KernelError, match=r"OpenVINO cannot run the network: .*shape"):
        network.run(np.zeros((2, 8, 8, 3), np.float32), [np.zeros((2, 2), np.float32)] * 2)
    assert len(network._free) == 1  # the one that was not lent
    assert run(backend, images(4), "logits")[0].isfinite().all()


def test_the_plan_says_what_runs(backend, twin):
    ours, torchs = backend.plan(2, 64, 64), twin.plan(2, 64, 64)
    assert ours.backend == "openvino"
    assert (ours.macs, ours.features) == (torchs.macs, torchs.features)
    (step,) = (step for step in ours.steps if step.name == "layer2.1.convs")
    assert [launch.what for launch in step.launches] == ["split", *CHAIN, "cat"]
    assert "on 'openvino'" in str(ours)


def test_low_memory_keeps_the_weights_in_a_file(state, backend):
    low = OpenVinoBackend(SMALL, state, torch.float32, CPU, low_memory=True)
    for n in (1, 8):
        assert all(map(torch.equal, run(low, images(n)), run(backend, images(n))))
    assert not any(
        conv.weight.untyped_storage().resizable()
        for of in low._networks.weights.values()
        for conv in of
    )


@pytest.mark.parametrize(("how", "message"), [
    ({"dtype": torch.float16}, "backend 'openvino': OpenVINO runs torch.float32"),
    ({"dtype": torch.float64}, "on a CPU, got torch.float64"),
])  # fmt: skip
def test_what_it_cannot_run_is_refused(how, message, state):
    with pytest.raises(ConfigError, match=message):
        build_backend("openvino", SMALL, state, device=CPU, **how)


def test_a_cpu_without_bfloat16_is_named(state, monkeypatch):
    monkeypatch.setattr(openvino_compile, "capabilities", lambda: ["FP32", "INT8"])
    with pytest.raises(ConfigError, match="this CPU has no bfloat16 for OpenVINO, which has FP32"):
        OpenVinoBackend(SMALL, state, torch.bfloat16, CPU)


def test_without_openvino_one_sentence_says_how_to_get_it(state, monkeypatch):
    monkeypatch.delitem(sys.modules, "r2n_kernels.engine.openvino_backend")
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    for part in ("compile", "graph", "networks", "requests"):
        monkeypatch.delitem(sys.modules, f"r2n_kernels.engine.openvino_{part}")
    monkeypatch.setitem(sys.modules, "openvino", None)
    message = r"backend 'openvino' needs OpenVINO, pip install 'r2n_kernels\[openvino\]'"
    with pytest.raises(ConfigError, match=message):
        build_backend("openvino", SMALL, state, torch.float32, CPU)


def test_auto_goes_on_with_torch_where_openvino_cannot_compile(state, monkeypatch, caplog):
    def refuse(*args):
        raise KernelError("OpenVINO cannot compile the network: no")

    monkeypatch.setattr(openvino_networks, "compile_graph", refuse)
    model = from_timm(Res2Net(SMALL).eval())
    assert model(images(1)).shape == (1, 7)
    assert "the torch backend takes over: OpenVINO cannot compile the network: no" in caplog.text
