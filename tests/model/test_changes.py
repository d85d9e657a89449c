"""The modules are the weights: whatever is done to them, the network obeys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from r2n_kernels import InputError
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import GlobalPool

from ..conftest import X
from .conftest import IMAGE, both, on_each_backend


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
    # what is not done every day
    "fewer classes": lambda m: (
        setattr(m.fc.weight, "data", m.fc.weight.data[:3])
        or setattr(m.fc.bias, "data", m.fc.bias.data[:3])
    ),
    "data": lambda m: m.fc.weight.data.neg_(),
    "class": lambda m: setattr(m.fc, "__class__", type("Half", (nn.Linear,), {
        "forward": lambda self, x: 0.5 * nn.Linear.forward(self, x)})),
    "forward_head": lambda m: setattr(
        m, "forward_head", lambda x, pre_logits=False: x.amax((2, 3))
    ),
    "forward_features": lambda m: setattr(m, "forward_features", lambda x: torch.ones(1, 56, 1, 1)),
}  # fmt: skip


@on_each_backend(
    HEADS, ["linear", "weight in place", "tensor.data", "pool", "hook", "data", "forward_features"]
)
def test_a_changed_head_is_obeyed(change, each_pair):
    both(change, each_pair, IMAGE)


def test_a_class_of_somebodys_may_have_another_head(each_pair):
    model, network = each_pair
    model.__class__ = type(
        "Mine", (Res2NetModel,), {"forward_head": lambda self, x, pre_logits=False: x.sum((2, 3))}
    )
    with torch.no_grad():
        torch.testing.assert_close(
            model(IMAGE), network.forward_features(IMAGE).sum((2, 3)), rtol=1e-4, atol=1e-3
        )


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


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
    # what PyTorch does not count, and what is not done every day
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
    both(change, each_pair, IMAGE)


@pytest.mark.parametrize("name", ["in place", "activation", "hook", "new layer"])
def test_a_changed_trunk_is_obeyed_where_the_device_works_meanwhile(name, pair, monkeypatch):
    """As on a GPU: first run, then look."""
    monkeypatch.setattr(Res2NetModel, "_overlaps", lambda m, packed: not packed.why_unfused())
    both(TRUNKS[name], pair)
    model, _ = pair
    with pytest.raises(InputError, match="expected a tensor of shape"):
        model(X[:, :2])


@pytest.mark.parametrize("hook", [
    lambda mod, state, prefix, meta: {k: v * 0.5 for k, v in state.items()},
    lambda mod, state, prefix, meta: {f"x.{k}": v for k, v in state.items()},
], ids=["halved", "renamed"])  # fmt: skip
def test_hooks_of_state_dicts_are_not_asked_when_packing(hook, pair):
    pair[0]._register_state_dict_hook(hook)
    both(lambda m: m.conv1.weight.mul_(1.5), pair)
