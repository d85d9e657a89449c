"""Training what surrounds a model or is its head; torch.func and torch.fx, which see modules."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import r2n_kernels
from r2n_kernels import InferenceOnlyError

from ..conftest import X, assert_same
from .conftest import IMAGE


def step(network: nn.Module, parameters: list[nn.Parameter], x: Tensor = X) -> Tensor:
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    loss = nn.functional.cross_entropy(network(x), torch.arange(len(x)))
    loss.backward()
    optimizer.step()
    return loss.detach()


def test_a_probe_on_a_frozen_backbone_trains(pair):
    losses = []
    for trunk in pair:
        torch.manual_seed(0)
        network = nn.Sequential(trunk.requires_grad_(False), nn.Linear(7, 3))
        trained = [p for p in network.parameters() if p.requires_grad]
        assert len(trained) == 2
        losses.append(torch.stack([step(network, trained) for _ in range(3)]))
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-3)
    assert losses[0][2] < losses[0][0]


@pytest.mark.parametrize("own", [True, False])
def test_its_classifier_trains(own, each_pair):
    losses = []
    for each in each_pair:
        torch.manual_seed(0)
        each.requires_grad_(False)
        if not own:
            each.fc = nn.Linear(56, 7)
        each.fc.requires_grad_(True)
        losses.append(torch.stack([step(each, [*each.fc.parameters()], IMAGE) for _ in range(3)]))
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-3)
    assert losses[0][2] < losses[0][0]


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_a_fused_optimizer_trains_the_head(optimizer, each_pair):
    for each in each_pair:
        each.requires_grad_(False)
        each.fc.requires_grad_(True)
        steps = optimizer(each.fc.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            nn.functional.cross_entropy(each(IMAGE), torch.tensor([0])).backward()
            steps.step()
            steps.zero_grad()
    assert_same(*each_pair, IMAGE)


def test_training_a_wrapper_leaves_batchnorm_alone_and_reaches_a_new_head(network):
    model = r2n_kernels.from_timm(network)
    model.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(56, 3))
    whole = nn.Sequential(model, nn.Dropout(0.5)).train()
    assert model.fc.training
    assert whole[1].training
    assert not any(m.training for m in model.layer1.modules())
    assert not model.training
    before = copy.deepcopy(model.state_dict())
    whole(X)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(m.training for m in whole.eval().modules())


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


def test_functional_calls(pair):
    model, network = pair
    head = nn.Linear(56, 7).state_dict()
    trunk = {k: v * 1.5 for k, v in network.state_dict().items() if k.startswith("layer2.0.conv")}
    new = {**trunk, **{f"fc.{k}": v for k, v in head.items()}}
    with torch.no_grad():
        actual, expected = (torch.func.functional_call(m, new, (X,)) for m in pair)
        pooled = model.forward_head(model.forward_features(X), pre_logits=True)
        torch.testing.assert_close(
            torch.func.functional_call(model.fc, head, (pooled,)),
            torch.nn.functional.linear(pooled, *head.values()),
        )
    torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-4)
    assert_same(model, network)


def test_torch_fx_takes_the_modules_apart(network):
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    model = r2n_kernels.from_timm(network)
    with torch.no_grad():
        assert_same(torch.fx.symbolic_trace(model), network)
        node = "layer2.1.bns.1"
        features = extraction.create_feature_extractor(model, {node: "x", "layer1": "y"})(X)
        seen = []
        handle = network.get_submodule(node).register_forward_hook(lambda *a: seen.append(a[-1]))
        maps = network.feature_maps(X)
        handle.remove()
    torch.testing.assert_close(features["x"], seen[0])
    torch.testing.assert_close(features["y"], maps[1])
