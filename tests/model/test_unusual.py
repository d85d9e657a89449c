"""What people do to modules that PyTorch does not count, and what they do not do every day."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import r2n_kernels
from r2n_kernels import ConfigError, InferenceOnlyError, InputError, WeightsError
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import Res2Net

CONFIG = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
TINY = Res2NetConfig(layers=(1,), planes=(14,), num_classes=7)
X = torch.randn(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))
no_gpu = pytest.mark.skipif(not interpreted(), reason="there is a GPU: its kernels are not run")


def assert_same(model: nn.Module, network: nn.Module, x: Tensor = X) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(x), network(x), rtol=2e-4, atol=2e-4)


@pytest.fixture
def pair(randomize):
    network = randomize(Res2Net(CONFIG)).eval()
    model = r2n_kernels.from_timm(network)
    assert_same(model, network)
    return model, network


@pytest.fixture
def fused_pair(randomize):
    """With a backend that runs the head."""
    network = randomize(Res2Net(TINY)).eval()
    model = r2n_kernels.from_timm(network, backend="triton")
    assert_same(model, network)
    return model, network


def both(change, pair) -> None:
    model, network = pair
    with torch.no_grad():
        before = network(X)
        for each in pair:
            torch.manual_seed(0)
            change(each)
        after = network(X)
    assert before.shape != after.shape or not torch.allclose(before, after)
    assert_same(model, network)
    assert_same(copy.deepcopy(model), network)


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def other_hooks(m: nn.Module) -> None:
    for module in m.modules():
        module._forward_hooks = OrderedDict()
    m.layer1.register_forward_hook(lambda mod, args, out: -out)


def transposed(m: nn.Module) -> None:
    m.conv1.weight.data = m.conv1.weight.data.transpose(2, 3)


def reused_memory(m: nn.Module) -> None:
    for factor in (2.0, 0.25):
        m.bn1.weight.data = m.bn1.weight.data * factor
        m(X)


CHANGES = {
    "data": lambda m: m.conv1.weight.data.mul_(-1),
    "view": transposed,
    "reused memory": reused_memory,
    "numpy": lambda m: m.bn1.weight.numpy().__imul__(2),
    "storage": lambda m: m.bn1.bias.untyped_storage().copy_((m.bn1.bias + 1).untyped_storage()),
    "hook tables": other_hooks,
    "method of a layer": lambda m: setattr(
        m.conv1, "_conv_forward", lambda x, w, b: nn.functional.conv2d(x, -w, b, 2, 3)
    ),
    "class of a layer": lambda m: setattr(m.layer1[0].conv1, "__class__", Doubled),
    "method of a block": lambda m: setattr(m.layer2[1], "hierarchy", torch.tanh),
    "attribute of a block": lambda m: (
        setattr(m.layer2[1], "is_first", True)
        or setattr(m.layer2[1], "pool", nn.AvgPool2d(3, 1, padding=1))
    ),
    "a block twice": lambda m: m.layer2.append(m.layer2[1]),
    "first layers": lambda m: setattr(m, "conv1", nn.Sequential(nn.Conv2d(3, 3, 1), m.conv1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_obeyed(change, pair):
    both(change, pair)


@pytest.mark.parametrize("hook", [
    lambda mod, state, prefix, meta: {k: v * 0.5 for k, v in state.items()},
    lambda mod, state, prefix, meta: {f"x.{k}": v for k, v in state.items()},
], ids=["halved", "renamed"])  # fmt: skip
def test_hooks_of_state_dicts_are_not_asked_when_packing(hook, pair):
    pair[0]._register_state_dict_hook(hook)
    both(lambda m: m.conv1.weight.mul_(1.5), pair)


@no_gpu
@pytest.mark.parametrize("change", [
    lambda m: (setattr(m.fc.weight, "data", m.fc.weight.data[:3]),
               setattr(m.fc.bias, "data", m.fc.bias.data[:3])),
    lambda m: m.fc.weight.data.neg_(),
    lambda m: setattr(m.fc, "__class__", type("Half", (nn.Linear,), {
        "forward": lambda self, x: 0.5 * nn.Linear.forward(self, x)})),
    lambda m: setattr(m, "forward_head", lambda x, pre_logits=False: x.amax((2, 3))),
    lambda m: setattr(m, "forward_features", lambda x: torch.ones(2, 56, 1, 1)),
], ids=["fewer classes", "data", "class", "forward_head", "forward_features"])  # fmt: skip
def test_a_changed_head_is_obeyed_by_a_backend_that_has_one(change, fused_pair):
    both(change, fused_pair)


@no_gpu
def test_a_class_of_somebodys_may_have_another_head(fused_pair):
    model, network = fused_pair
    model.__class__ = type(
        "Mine", (Res2NetModel,), {"forward_head": lambda self, x, pre_logits=False: x.sum((2, 3))}
    )
    with torch.no_grad():
        torch.testing.assert_close(
            model(X), network.forward_features(X).sum((2, 3)), rtol=1e-4, atol=1e-3
        )


@no_gpu
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_a_fused_optimizer_trains_the_head(optimizer, fused_pair):
    for each in fused_pair:
        each.requires_grad_(False)
        each.fc.requires_grad_(True)
        steps = optimizer(each.fc.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            nn.functional.cross_entropy(each(X), torch.tensor([0, 1])).backward()
            steps.step()
            steps.zero_grad()
    assert_same(*fused_pair)


# Gradients do not get lost.


def test_no_derivative_by_the_images_is_zero_in_silence(pair):
    model, _ = pair
    x = X.clone().requires_grad_()
    for ask in (
        lambda: model(x).sum().backward(),
        lambda: torch.autograd.grad(model(x).sum(), x, allow_unused=True),
        lambda: torch.autograd.functional.vjp(model, X, torch.ones(2, 7)),
        lambda: torch.autograd.functional.jacobian(lambda x: model(x).sum(), X),
    ):
        with pytest.raises(InferenceOnlyError, match=r"backward reached.*reference"):
            ask()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, torch.ones_like(X))
        with pytest.raises(InferenceOnlyError, match=r"tangent reached.*reference"):
            model(dual)


def test_torch_func_takes_the_modules(pair):
    model, network = pair
    weights = {k: torch.stack([v, v * 1.1]) for k, v in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def run(m: nn.Module, parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(m, {**parameters, **buffers}, (X,))

    found = [
        torch.func.vmap(lambda p, m=each: run(m, p), randomness="error")(weights) for each in pair
    ]
    torch.testing.assert_close(*(f.detach() for f in found), rtol=1e-4, atol=1e-4)
    gradients = [
        torch.func.grad(lambda p, m=each: run(m, p).square().sum())(
            dict(network.named_parameters())
        )
        for each in pair
    ]
    for name, wanted in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], wanted, rtol=1e-3, atol=1e-3)
    images = X[:, None]
    torch.testing.assert_close(*(torch.func.vmap(each)(images).detach() for each in pair),
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    assert_same(model, network)


# Loading.


def test_a_load_is_seen_whole_by_other_threads(randomize):
    networks = [randomize(Res2Net(TINY), seed=seed).eval() for seed in (1, 2)]
    model = r2n_kernels.from_timm(networks[0])
    with torch.no_grad():
        expected = [network(X) for network in networks]
    wrong, stop = [], threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with torch.no_grad():
                answer = model(X)
            if not any(torch.allclose(answer, e, rtol=1e-3, atol=1e-3) for e in expected):
                wrong.append(answer)

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for i in range(12):
            model.load_state_dict(networks[i % 2].state_dict())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_good_weights_rescue_a_model_of_bad_ones(pair):
    model, network = pair
    with torch.no_grad():
        model.conv1.weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"conv1: .* not finite"):
        model(X)
    model.load_state_dict(network.state_dict())
    assert_same(model, network)


def test_a_model_with_parts_of_somebodys_loads_as_pytorch_does(pair):
    for each in pair:
        each.neck = nn.Linear(7, 7)
        each.fc.register_buffer("temperature", torch.ones(1))
    model, network = pair
    assert model.load_state_dict(network.state_dict()) == ([], [])
    assert torch.equal(model.neck.weight, network.neck.weight)
    assert_same(model, network)
    assert model.load_state_dict({"neck.bias": torch.ones(7)}, strict=False).unexpected_keys == []


def test_weights_made_in_inference_mode_are_packed_once(pair):
    model, network = pair
    with torch.inference_mode():
        for each in pair:
            each.conv1.weight = nn.Parameter(each.conv1.weight * 2, requires_grad=False)
    assert_same(model, network)
    packed = model._packed
    assert_same(model, network)
    assert model._packed is packed


# Elsewhere.


def test_from_timm_refuses_what_it_cannot_take_along(randomize):
    for change, match in (
        (lambda m: m.layer1.register_forward_hook(print), "layer1 has a forward hook: remove it"),
        (lambda m: m.fc.register_forward_pre_hook(print), "fc has a forward hook"),
        (lambda m: setattr(m.act1, "forward", torch.tanh), "act1 has another forward"),
        (lambda m: setattr(m, "forward", torch.tanh), "it has another forward"),
        (lambda m: setattr(m.layer1[0], "is_first", False), r"layer1\.0\.is_first is False"),
    ):
        network = randomize(Res2Net(TINY)).eval()
        change(network)
        with pytest.raises(ConfigError, match=match):
            r2n_kernels.from_timm(network)


def test_a_head_is_run_once_where_the_device_works_meanwhile(pair, monkeypatch):
    monkeypatch.setattr(Res2NetModel, "_overlaps", lambda m, packed: not packed.why_unfused())
    model, _ = pair
    model.fc = nn.Sequential(nn.BatchNorm1d(56), nn.Linear(56, 3)).train()
    for calls in (1, 2, 3):
        with torch.no_grad():
            model.bn1.weight.mul_(1.1)
        model(X)
        assert int(model.fc[0].num_batches_tracked) == calls


def test_data_parallel_copies_are_refused(pair):
    with pytest.raises(ConfigError, match="run a model a GPU instead"):
        pair[0]._replicate_for_data_parallel()


@no_gpu
def test_negated_views_are_images_too(fused_pair):
    x = torch.complex(torch.zeros_like(X), X).conj().imag
    assert x.is_neg()
    assert_same(*fused_pair, x)


def test_a_model_without_weights_says_so(pair):
    model, network = pair
    state = copy.deepcopy(model.state_dict())
    model.to("meta")
    assert {t.device.type for t in model.state_dict().values()} == {"meta"}
    with pytest.raises(ConfigError, match="on the meta device has no weights"):
        model(X.to("meta"))
    model.to_empty(device="cpu").load_state_dict(state)
    assert_same(model, network)
    made = r2n_kernels.create_model("res2net50d", device="meta")
    assert made.conv1[0].weight.is_meta


def test_images_for_changed_first_layers_are_checked_by_those(pair):
    model, network = pair
    for each in pair:
        torch.manual_seed(0)
        each.conv1 = nn.Sequential(nn.Conv2d(1, 3, 1), each.conv1)
    assert_same(model, network, X[:, :1])
    with pytest.raises(InputError, match=r"expected a tensor of shape \[N, None, H, W\], got"):
        model(X[0])
