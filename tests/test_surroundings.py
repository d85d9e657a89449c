"""Nothing that surrounds a call changes a model: default dtype and device, autocast, grad modes."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor

import r2n_kernels
from r2n_kernels import engine, reference
from r2n_kernels.block import FusedBlock
from r2n_kernels.cli.bundled import expand
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.torch_backend import TorchBackend
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import Res2Net
from r2n_kernels.weights import load_weights

SMALL = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
CFG = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
X = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
BYTES = torch.randint(0, 256, (2, 40, 40, 3), dtype=torch.uint8)
SMALL_X, SMALL_BYTES = X[:1, :, :32, :32], BYTES[:1, :32, :32]  # for Triton's interpreter


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SURROUNDINGS: dict[str, Callable[[], contextlib.AbstractContextManager]] = {
    "default bfloat16": lambda: default_dtype(torch.bfloat16),
    "default float64": lambda: default_dtype(torch.float64),
    "default device meta": lambda: default_device("meta"),
    "in device meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
}
surrounded = pytest.mark.parametrize("surroundings", SURROUNDINGS.values(), ids=SURROUNDINGS)


@pytest.fixture(scope="module")
def network(randomize):
    network = randomize(Res2Net(SMALL)).eval()
    network.pretrained_cfg = CFG
    return network


@pytest.fixture
def model(network, auto):
    return r2n_kernels.from_timm(network)


def loaded(model: Res2NetModel, state: dict[str, Tensor]) -> Res2NetModel:
    model.load_state_dict(state)
    return model


def reset(model: Res2NetModel) -> Res2NetModel:
    torch.manual_seed(5)
    model.reset_classifier(11)
    return model


def create(name: str, **kwargs) -> Res2NetModel:
    torch.manual_seed(5)
    return r2n_kernels.create_model(name, **kwargs)


# What makes or changes a model: of the live network, and of a model that was made outside.
MAKERS: dict[str, Callable[[Res2Net, Res2NetModel], Res2NetModel]] = {
    "from_timm": lambda network, model: r2n_kernels.from_timm(network),
    "from_timm in bfloat16": lambda network, model: r2n_kernels.from_timm(
        network, dtype=torch.bfloat16
    ),
    "features": lambda network, model: r2n_kernels.from_timm(network, features_only=True),
    "deepcopy": lambda network, model: copy.deepcopy(model),
    "pickle": lambda network, model: pickle.loads(pickle.dumps(model)),
    "load_state_dict": lambda network, model: loaded(model, network.state_dict()),
    "cast there and back": lambda network, model: model.to(torch.bfloat16).float(),
    "cast": lambda network, model: model.to(torch.bfloat16),
    "reset_classifier": lambda network, model: reset(model),
    "create_model": lambda network, model: create("res2net50_48w_2s", num_classes=3),
    "local folder": lambda network, model: create(expand("digits"), pretrained=True),
    "fresh classifier": lambda network, model: create(
        expand("digits"), pretrained=True, num_classes=4
    ),
}


def outputs(model: Res2NetModel) -> list[Tensor]:
    x = X[:, : model.config.in_chans].to(model.dtype)
    maps = model.forward_intermediates(x)[1]
    found = [*maps, *([] if model.features_only else [model(x), model.forward_head(maps[-1])])]
    if "mean" in model.pretrained_cfg and model.config.in_chans == 3:
        found += model.forward_intermediates(BYTES)[1]
    return [tensor.detach() for tensor in found]


def assert_alike(actual: Res2NetModel, expected: Res2NetModel) -> None:
    assert (actual.dtype, actual.device) == (expected.dtype, expected.device)
    states = actual.state_dict(), expected.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        assert states[0][name].dtype == value.dtype, name
        assert torch.equal(states[0][name], value), name
    for a, e in zip(actual.fc.parameters(), expected.fc.parameters(), strict=True):
        assert a.dtype == e.dtype
        assert torch.equal(a, e)


def bounds(model: Res2NetModel) -> object:
    """Return what its backend watches for overflow by."""
    backend = model._packed.backend
    if isinstance(backend, TorchBackend):
        return backend.network.growths
    return backend._input_limit, backend._networks.looks


@pytest.fixture(scope="module", params=["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def auto(request) -> Iterator[None]:
    """What "auto" takes on a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(engine, "find_spec", lambda name: None)
        yield


@pytest.fixture(scope="module")
def made_elsewhere(network, auto) -> Callable[[str], tuple[Res2NetModel, list[Tensor]]]:
    """made_elsewhere(maker): its model and outputs with nothing around them, made once."""

    @cache
    def made(maker: str) -> tuple[Res2NetModel, list[Tensor]]:
        model = MAKERS[maker](network, r2n_kernels.from_timm(network))
        return model, outputs(model)

    return made


@surrounded
@pytest.mark.parametrize("maker", MAKERS)
def test_a_model_made_there_is_the_model_made_elsewhere(
    maker, surroundings, network, made_elsewhere
):
    expected, wanted = made_elsewhere(maker)
    before = r2n_kernels.from_timm(network)
    with surroundings():
        actual = MAKERS[maker](network, before)
    assert_alike(actual, expected)
    for a, e in zip(outputs(actual), wanted, strict=True):
        assert torch.equal(a, e)
    assert bounds(actual) == bounds(expected)
    for name, tensor in actual.state_dict().items():  # an inference tensor refuses
        assert not tensor.is_inference(), name
    assert not any(parameter.is_inference() for parameter in actual.fc.parameters())


@surrounded
def test_a_model_runs_there_as_elsewhere(surroundings, model):
    expected = outputs(model)
    fresh = copy.deepcopy(model)  # has seen no bytes yet
    with surroundings():
        actual = outputs(fresh)
    for a, e in zip(actual, expected, strict=True):
        assert (a.dtype, a.device) == (e.dtype, e.device)
        assert torch.equal(a, e)
    for a, e in zip(outputs(fresh), expected, strict=True):
        assert torch.equal(a, e)


@surrounded
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_block_made_there_is_the_block_made_elsewhere(dtype, surroundings, network):
    expected = FusedBlock.from_network(network, "layer2.0", dtype=dtype).state_dict()
    with surroundings():
        actual = FusedBlock.from_network(network, "layer2.0", dtype=dtype).state_dict()
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].device) == (value.dtype, value.device), name
        assert torch.equal(actual[name], value), name
        assert not actual[name].is_inference()


@surrounded
def test_loaded_weights_and_random_ones_are_the_same_there(surroundings, network):
    expected = load_weights(network, SMALL).state
    with surroundings():
        actual = load_weights(network, SMALL).state
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].device) == (value.dtype, value.device), name
        assert torch.equal(actual[name], value), name
    wanted = reference.randomize(Res2Net(SMALL)).state_dict()
    fresh = Res2Net(SMALL)
    with surroundings():
        reference.randomize(fresh)
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in wanted.items())


@pytest.fixture(scope="module")
def on_triton(randomize) -> tuple[Res2Net, Tensor, Tensor]:
    """A network, and what the backend makes of an image in floats and of one in bytes."""
    network = randomize(Res2Net(Res2NetConfig(layers=(1,), planes=(9,), num_classes=3))).eval()
    network.pretrained_cfg = CFG
    model = r2n_kernels.from_timm(network, backend="triton")
    return network, model(SMALL_X).detach(), model(SMALL_BYTES).detach()


@pytest.mark.skipif(not interpreted(), reason="there is a GPU: its kernels are not run here")
@surrounded
def test_the_triton_backend_is_the_same_there(surroundings, on_triton):
    network, of_floats, of_bytes = on_triton
    with surroundings():
        there = copy.deepcopy(r2n_kernels.from_timm(network, backend="triton"))
        actual = [there(SMALL_X).detach(), there(SMALL_BYTES).detach()]
    actual.append(there(SMALL_BYTES).detach())  # with the buffers made there
    for a, e in zip(actual, [of_floats, of_bytes, of_bytes], strict=True):
        assert a.dtype == e.dtype
        assert torch.equal(a, e)


def test_the_trainable_network_follows_pytorchs_defaults_unless_told():
    with default_dtype(torch.float64):
        assert next(Res2Net(SMALL).parameters()).dtype == torch.float64
        told = Res2Net(SMALL, dtype=torch.bfloat16, device="meta")
    assert {p.dtype for p in told.parameters()} == {torch.bfloat16}
    assert {t.device.type for t in told.state_dict().values()} == {"meta"}
