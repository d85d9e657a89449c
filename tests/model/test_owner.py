"""The modules are the weights: whatever is done to them, the network obeys, or says that not."""

from __future__ import annotations

import copy
import io
import logging
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import r2n_kernels
from r2n_kernels import ConfigError, InputError, WeightsError
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import GlobalPool, Res2Net
from r2n_kernels.weights import faults_of_trunk

CONFIG = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
TINY = Res2NetConfig(layers=(1,), planes=(14,), num_classes=7)  # features of the same number
X = torch.randn(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))
BACKENDS = [
    "torch",
    pytest.param("triton", marks=pytest.mark.skipif(not interpreted(), reason="there is a GPU")),
]


@pytest.fixture(scope="module")
def network(randomize):
    return randomize(Res2Net(CONFIG)).eval()


def packed_pair(network: nn.Module, backend: str) -> tuple[Res2NetModel, nn.Module]:
    """A model that has run, so that its weights are packed, and the network to compare with."""
    model = r2n_kernels.from_timm(network, backend=backend)
    assert_same(model, network)
    return model, copy.deepcopy(network)


@pytest.fixture
def pair(network):
    return packed_pair(network, "torch")


@pytest.fixture(params=BACKENDS)
def each_pair(request, randomize):
    return packed_pair(randomize(Res2Net(TINY)).eval(), request.param)


def assert_same(model: nn.Module, network: nn.Module, x: Tensor = X) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(x), network(x), rtol=2e-4, atol=2e-4)


def both(change: Callable[[nn.Module], object], pair: tuple[nn.Module, nn.Module]) -> None:
    """The change reaches the numbers, as in plain PyTorch, and stays in copies of the model."""
    model, network = pair
    with torch.no_grad():
        before = network(X)
        for each in pair:
            torch.manual_seed(0)
            change(each)
        assert before.shape != network(X).shape or not torch.allclose(before, network(X))
    assert_same(model, network)
    assert_same(copy.deepcopy(model), network)
    assert_same(model.to(torch.float32, memory_format=torch.channels_last), network)


def set_fc(fc: Callable[[], nn.Module]) -> Callable[[nn.Module], None]:
    return lambda m: setattr(m, "fc", fc())


HEADS = {
    "identity": set_fc(nn.Identity),
    "linear": set_fc(lambda: nn.Linear(56, 5)),
    "sequential": set_fc(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(56, 5)).eval()),
    "weight in place": lambda m: m.fc.weight.mul_(2),
    "through the getter": lambda m: m.get_parameter("fc.weight").neg_(),
    "new parameter": lambda m: setattr(m.fc, "weight", nn.Parameter(torch.randn(7, 56))),
    "fc.load_state_dict": lambda m: m.fc.load_state_dict(nn.Linear(56, 7).state_dict()),
    "init": lambda m: nn.init.zeros_(m.get_parameter("fc.weight")),
    "state dict": lambda m: m.state_dict()["fc.bias"].add_(1),
    "tensor.data": lambda m: setattr(m.fc.weight, "data", torch.randn(7, 56)),
    "pool": lambda m: setattr(m, "global_pool", GlobalPool("max")),
    "other pool": lambda m: setattr(
        m, "global_pool", nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    ),
    "pool type": lambda m: setattr(m.global_pool, "pool_type", "avgmax"),
    "forward of fc": lambda m: setattr(m.fc, "forward", lambda x: x[:, :3]),
    "hook": lambda m: m.fc.register_forward_hook(lambda mod, i, out: out + 1) and None,
    "pruned": lambda m: prune.random_unstructured(m.fc, "weight", 0.5) and None,
}  # fmt: skip


@pytest.mark.parametrize("change", HEADS.values(), ids=HEADS)
def test_a_changed_head_is_obeyed(change, each_pair):
    both(change, each_pair)


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


TRUNKS = {
    "in place": lambda m: m.layer2[1].conv1.weight.mul_(0.5),
    "mean in place": lambda m: m.layer1[0].bns[1].running_mean.add_(1),
    "var in inference mode": lambda m: torch.inference_mode()(m.bn1.running_var.mul_)(2),
    "tensor.data": lambda m: setattr(m.conv1.weight, "data", torch.randn(64, 3, 7, 7)),
    "new parameter": lambda m: setattr(m.conv1, "weight", nn.Parameter(torch.randn(64, 3, 7, 7))),
    "new bias": lambda m: setattr(m.conv1, "bias", nn.Parameter(torch.randn(64))),
    "new layer": lambda m: setattr(m, "conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False)),
    "another stem": lambda m: setattr(m, "conv1", nn.Conv2d(3, 64, 5, 2, 2)),
    "activation": lambda m: setattr(m, "act1", nn.SiLU()),
    "no stage": lambda m: setattr(m, "layer2", nn.Conv2d(36, 56, 1)),
    "appended": lambda m: m.layer2.append(nn.SiLU()),
    "wrapped": lambda m: setattr(m, "layer1", nn.Sequential(m.layer1, nn.SiLU())),
    "stride": lambda m: setattr(m.layer1[0].convs[0], "padding_mode", "circular")
              or setattr(m.layer1[0].convs[0], "_reversed_padding_repeated_twice", [1] * 4),
    "eps": lambda m: setattr(m.bn1, "eps", 0.5),
    "pool": lambda m: setattr(m.maxpool, "ceil_mode", True)
            or setattr(m.maxpool, "stride", 1),
    "forward": lambda m: setattr(m.act1, "forward", torch.tanh),
    "hook": lambda m: m.layer1.register_forward_hook(lambda mod, i, out: -out) and None,
    "pre-hook": lambda m: m.layer2.register_forward_pre_hook(lambda mod, x: (x[0] * 2,)) and None,
    "pruned": lambda m: prune.l1_unstructured(m.layer2[0].conv3, "weight", 0.5) and None,
    "parametrized": lambda m: parametrize.register_parametrization(
        m.layer1[0].conv1, "weight", Negative()) and None,
    "buffer": lambda m: m.bn1.register_buffer("running_mean", torch.ones(64)),
}  # fmt: skip


@pytest.mark.parametrize("change", TRUNKS.values(), ids=TRUNKS)
def test_a_changed_trunk_is_obeyed(change, pair):
    both(change, pair)


@pytest.mark.parametrize("change", [
    lambda m: m.layer1[0].conv3.weight.mul_(0.5),
    lambda m: setattr(m, "act1", nn.SiLU()),
    lambda m: m.layer1.register_forward_hook(lambda mod, i, out: -out) and None,
], ids=["in place", "activation", "hook"])  # fmt: skip
def test_a_changed_trunk_is_obeyed_by_every_backend(change, each_pair):
    both(change, each_pair)


@pytest.mark.parametrize("name", ["in place", "activation", "hook", "new layer"])
def test_a_changed_trunk_is_obeyed_where_the_device_works_meanwhile(name, pair, monkeypatch):
    """As on a GPU: first run, then look."""
    monkeypatch.setattr(Res2NetModel, "_overlaps", lambda m, packed: not packed.why_unfused())
    both(TRUNKS[name], pair)
    model, _ = pair
    with pytest.raises(InputError, match="expected a tensor of shape"):
        model(X[:, :2])


@pytest.mark.parametrize("overlaps", [False, True])
def test_another_first_convolution_takes_other_images(overlaps, pair, monkeypatch, caplog):
    monkeypatch.setattr(Res2NetModel, "_overlaps", lambda *_: overlaps)
    for each in pair:
        torch.manual_seed(0)
        each.conv1 = nn.Conv2d(5, 64, 7, 2, 3, bias=False)
    x = torch.randn(2, 5, 40, 33)
    assert_same(*pair, x)
    assert_same(copy.deepcopy(pair[0]), pair[1], x)
    assert not caplog.records  # still folded
    pair[0].load_state_dict(pair[0].state_dict())
    with pytest.raises(InputError, match=r"expected a tensor of shape \[N, 5, H, W\], got"):
        pair[0](X)


def test_batchnorm_in_training_mode_takes_statistics_as_in_pytorch(network):
    model, peer = r2n_kernels.from_timm(network), copy.deepcopy(network)
    for each in (model, peer):
        each.layer2.train()
    assert_same(model, peer)
    before = model.layer2[0].bn1.running_mean.clone()
    assert_same(model, peer)
    assert not torch.equal(model.layer2[0].bn1.running_mean, before)
    assert_same(model.eval(), peer.eval())


def test_an_unfused_network_says_so_once_and_a_removed_hook_makes_it_fast_again(network, caplog):
    model = r2n_kernels.from_timm(network)
    expected = model(X)
    seen = []
    handle = model.layer1.register_forward_hook(lambda mod, i, out: seen.append(out.shape))
    with caplog.at_level(logging.WARNING):
        model(X)
        model.forward_features(X)
    assert seen == [(2, 36, 9, 10)] * 2
    assert [r.getMessage() for r in caplog.records] == [
        "the network runs module by module, unfused: a module has a forward hook"
    ]
    handle.remove()
    assert torch.equal(model(X), expected)
    assert len(seen) == 2
    model.layer2[1] = nn.Identity()
    assert model(X).shape == (2, 7)
    assert "layer2.1 is Identity, expected Bottle2neck" in caplog.records[-1].getMessage()
    with pytest.raises(ConfigError, match=r"no plan: .*layer2\.1 is Identity"):
        model.plan(1, 64, 64)
    assert "backend=auto" in repr(model)


def test_hooks_of_all_modules_fire(network):
    model, seen = r2n_kernels.from_timm(network), []
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(type(m)))
    try:
        model(X)
    finally:
        handle.remove()
    assert seen.count(nn.Conv2d) == sum(isinstance(m, nn.Conv2d) for m in network.modules())
    assert seen[-1] is Res2NetModel


def test_forward_hooks_of_the_head_see_what_pytorchs_see(each_pair):
    seen = []
    for each in each_pair:
        each.fc.register_forward_hook(lambda m, args, out: seen.append((*args, out)))
        each.global_pool.register_forward_pre_hook(lambda m, args: seen.append(args))
        with torch.no_grad():
            each(X)
    for actual, expected in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-4)


def test_copies_have_the_changed_modules(pair):
    model, network = pair
    for each in pair:
        torch.manual_seed(1)
        each.fc = nn.Linear(56, 4)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(buffer, weights_only=False),
        copy.copy(model),
    ):
        assert_same(twin, network)
        assert twin.state_dict().keys() == network.state_dict().keys()


def test_a_copy_owns_its_weights(network):
    model = r2n_kernels.from_timm(network)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.conv1.weight.zero_()
        twin.fc.weight.zero_()
    assert_same(model, network)


def test_the_tree_is_the_references(network):
    model = r2n_kernels.from_timm(network)
    assert [n for n, _ in model.named_children()] == [n for n, _ in network.named_children()]
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in network.named_parameters()]
    assert [n for n, _ in model.named_buffers()] == [n for n, _ in network.named_buffers()]
    assert not any(p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == CONFIG.parameters
    truncated = [nn.Sequential(*list(each.children())[:-2]) for each in (model, network)]
    assert_same(*truncated)
    own = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    assert not own & {t.untyped_storage().data_ptr() for t in network.state_dict().values()}


def test_weights_are_packed_once(each_pair):
    model, _ = each_pair
    packed = model._packed
    model(X)
    model.eval()
    model.train(False).requires_grad_(False)
    model.forward_intermediates(X)
    model.state_dict()
    handle = model.conv1.register_forward_hook(lambda *args: None)
    model(X)
    handle.remove()
    with torch.no_grad():
        model.fc.weight.mul_(2)  # the head alone
        model(X)
    assert model._packed is packed
    with torch.no_grad():
        model.bn1.weight.mul_(2)
        model(X)
    assert model._packed is not packed
    packed = model._packed
    model(X)
    assert model._packed is packed


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


# State dicts.


def wrapped(trunk: nn.Module) -> nn.Module:
    return nn.Sequential(trunk, nn.Linear(7, 3))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [True, False])
def test_a_wrappers_state_dict_loads(strict, assign, pair, randomize):
    model, _ = pair
    other = wrapped(randomize(Res2Net(CONFIG), seed=3).eval())
    state = copy.deepcopy(other.state_dict())
    network = wrapped(model)
    result = network.load_state_dict(state, strict=strict, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert_same(network, other)
    assert not any(p.requires_grad for p in model.parameters())
    assert network.state_dict().keys() == state.keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_loading_says_what_was_missing_and_unexpected(pair, randomize):
    model, network = pair
    other = randomize(Res2Net(CONFIG), seed=4).eval()
    assert model.load_state_dict(other.state_dict()) == network.load_state_dict(other.state_dict())
    assert_same(model, network)
    part = {k: v + 1 for k, v in other.state_dict().items() if k.startswith("fc")}
    part["head.weight"] = torch.zeros(3)
    actual = model.load_state_dict(part, strict=False)
    expected = network.load_state_dict(part, strict=False)
    assert actual.unexpected_keys == expected.unexpected_keys == ["head.weight"]
    counters = {k for k in actual.missing_keys if k.endswith("num_batches_tracked")}
    assert set(actual.missing_keys) - counters == set(expected.missing_keys) - counters
    assert_same(model, network)


def test_a_load_that_overflows_leaves_everything(network):
    model = r2n_kernels.from_timm(network)
    bad = dict(network.state_dict())
    bad["bn1.weight"] = torch.full((64,), 3e38)
    bad["bn1.running_var"] = torch.zeros(64)
    with pytest.raises(WeightsError, match=r"not finite in torch\.float32"):
        model.load_state_dict(bad)
    assert_same(model, network)
    assert torch.equal(model.state_dict()["bn1.weight"], network.bn1.weight)


def test_weights_set_to_nonsense_are_named(network):
    model = r2n_kernels.from_timm(network)
    with torch.no_grad():
        model.layer1[0].conv1.weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1: .* not finite"):
        model(X)


def test_a_model_with_another_head_loads_as_pytorch_does(network):
    model, peer = r2n_kernels.from_timm(network), copy.deepcopy(network)
    for each in (model, peer):
        each.fc = nn.Sequential(nn.Linear(56, 8), nn.ReLU(), nn.Linear(8, 3))
    assert model.load_state_dict(peer.state_dict()) == peer.load_state_dict(peer.state_dict())
    assert_same(model, peer)
    with pytest.raises(RuntimeError, match=r"Missing key.*fc\.0\.weight"):
        model.load_state_dict(network.state_dict())


def test_a_new_classifier_of_other_classes_loads(pair):
    model, network = pair
    for each in pair:
        each.fc = nn.Linear(56, 4)
    assert model.load_state_dict(network.state_dict()) == ([], [])
    assert_same(model, network)
    model.refold()
    assert_same(model, network)


def test_safetensors_loads_and_saves_models(pair, tmp_path, randomize):
    from safetensors.torch import load_model, save_model

    model, _ = pair
    other = randomize(Res2Net(CONFIG), seed=5).eval()
    save_model(other, str(tmp_path / "other.safetensors"))
    assert load_model(model, str(tmp_path / "other.safetensors")) == (set(), [])
    assert_same(model, other)
    save_model(model, str(tmp_path / "model.safetensors"))
    fresh = Res2Net(CONFIG).eval()
    load_model(fresh, str(tmp_path / "model.safetensors"))
    assert_same(model, fresh)


# Training what surrounds it.


def step(network: nn.Module, parameters: list[nn.Parameter]) -> Tensor:
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    loss = nn.functional.cross_entropy(network(X), torch.tensor([0, 1]))
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
        losses.append(torch.stack([step(each, list(each.fc.parameters())) for _ in range(3)]))
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-3)
    assert losses[0][2] < losses[0][0]


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


def test_moving_a_model_moves_its_parameters_and_keeps_them_float32(network):
    model = r2n_kernels.from_timm(network, dtype=torch.bfloat16)
    state = copy.deepcopy(model.state_dict())
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        assert model(X.to(dtype)).dtype == model.dtype == dtype
        assert model.forward_head(model.forward_features(X.to(dtype)), True).dtype == dtype
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name]), name
    model.layer1.register_forward_hook(lambda *args: None)
    model.fc = nn.Sequential(nn.Linear(56, 8), nn.ReLU(), nn.Linear(8, 3))
    model.to(torch.bfloat16)
    assert model.fc[0].weight.dtype == torch.float32
    assert model(X.bfloat16()).dtype == torch.bfloat16
    assert r2n_kernels.from_timm(r2n_kernels.from_timm(network, dtype=torch.bfloat16)).dtype == (
        torch.bfloat16
    )
    with pytest.raises(ConfigError, match="float64"):
        r2n_kernels.from_timm(network).double()


def test_refold_after_a_write_that_pytorch_does_not_count(network):
    model, peer = r2n_kernels.from_timm(network), copy.deepcopy(network)
    for each in (model, peer):
        each.conv1.weight.data.mul_(0.5)
    model.refold()
    assert_same(model, peer)


def test_from_timm_refuses_a_pooling_that_it_does_not_know(network):
    changed = copy.deepcopy(network)
    changed.global_pool = nn.AdaptiveMaxPool2d(1)
    with pytest.raises(ConfigError, match="global_pool is AdaptiveMaxPool2d, whose pooling"):
        r2n_kernels.from_timm(changed)
    changed.global_pool, changed.fc = nn.Identity(), nn.Identity()
    assert r2n_kernels.from_timm(changed)(X).shape == (2, 56, 5, 5)


def test_faults_are_named(network):
    changed = copy.deepcopy(network)
    changed.layer1[0].convs[0].stride = (2, 2)
    changed.bn1.train()
    del changed.maxpool
    assert faults_of_trunk(changed, CONFIG) == [
        "bn1 is in training mode",
        "maxpool is missing, expected MaxPool2d",
        "layer1.0.convs.0.stride is 2, expected 1",
    ]
