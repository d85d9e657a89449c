"""What timm's own tests ask of every model, asked of these nine; and timm's answers beside ours."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels import ConfigError, InferenceOnlyError
from r2n_kernels.config import VARIANTS

timm = pytest.importorskip("timm")
DOCS = Path(__file__).parents[2] / "docs" / "timm.md"
X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


# A deep stem; then each other structure once; the rest differ from those in widths alone.
MARKS = {"res2net101_26w_4s": "slow", "res2net50_14w_8s": "slow", "res2next50": "slow"}
NAMES = [
    n if n == "res2net50d" else pytest.param(n, marks=getattr(pytest.mark, MARKS.get(n, "weekly")))
    for n in VARIANTS
]


@pytest.fixture(scope="module", params=NAMES)
def pair(request, randomize):
    """timm's network and ours, with the same weights."""
    with torch.device("meta"):
        peer = timm.create_model(request.param)
    peer = randomize(peer.to_empty(device="cpu")).eval()
    return request.param, r2n_kernels.from_timm(peer), peer


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def test_forward(pair, rel_error):
    _, ours, theirs = pair
    actual = ours(X)
    assert actual.shape == (2, 1000)
    assert actual.isfinite().all()
    assert rel_error(actual, theirs(X)) <= 1e-5


def test_default_cfg(pair):
    name, ours, theirs = pair
    fresh = r2n_kernels.create_model(f"{name}.in1k", num_classes=0)
    for cfg in (ours.default_cfg, fresh.default_cfg):
        for key in ("num_classes", "input_size", "pool_size", "crop_pct", "interpolation", "mean",
                    "std", "first_conv", "classifier"):  # fmt: skip
            assert cfg[key] == theirs.default_cfg[key], key
    state = ours.state_dict()
    assert f"{ours.default_cfg['classifier']}.weight" in state
    assert f"{ours.default_cfg['first_conv']}.weight" in state
    height, width = ours.default_cfg["pool_size"]
    size = ours.default_cfg["input_size"]
    assert (height * 32, width * 32) == size[1:]
    for attribute in ("num_classes", "num_features", "head_hidden_size", "in_chans", "drop_rate",
                      "grad_checkpointing"):  # fmt: skip
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute


def test_modules_and_parameters(pair):
    _, ours, theirs = pair
    assert [n for n, _ in ours.named_children()] == [n for n, _ in theirs.named_children()]
    for names in ("named_parameters", "named_buffers"):
        mine, wanted = (dict(getattr(m, names)()) for m in (ours, theirs))
        assert list(mine) == list(wanted)
        for name, tensor in wanted.items():
            assert (mine[name].shape, mine[name].dtype) == (tensor.shape, tensor.dtype), name
            assert torch.equal(mine[name], tensor), name
    for cut in (-1, -2):
        mine, wanted = (nn.Sequential(*list(m.children())[:cut])(X) for m in (ours, theirs))
        assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-5)


def test_forward_features_and_head(pair, rel_error):
    _, ours, theirs = pair
    mine, wanted = ours.forward_features(X), theirs.forward_features(X)
    assert mine.shape == (2, ours.num_features, 2, 2)
    assert rel_error(mine, wanted) <= 1e-5
    for pre_logits in (False, True):
        actual = ours.forward_head(mine, pre_logits=pre_logits)
        assert rel_error(actual, theirs.forward_head(wanted, pre_logits=pre_logits)) <= 1e-5


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"indices": 2},
        {"indices": [4, 1]},
        {"indices": (-1,), "intermediates_only": True},
        {"indices": [0, 2], "stop_early": True},
        {"indices": 5, "norm": True},
        {"indices": [0], "stop_early": True},
        {"indices": [1, 3], "stop_early": True, "intermediates_only": True},
    ],
    ids=str,
)
def test_forward_intermediates(arguments, pair, rel_error):
    _, ours, theirs = pair
    actual, wanted = (m.forward_intermediates(X, **arguments) for m in (ours, theirs))
    if not arguments.get("intermediates_only"):
        assert rel_error(actual[0], wanted[0]) <= 1e-5
        actual, wanted = actual[1], wanted[1]
    assert len(actual) == len(wanted)
    for mine, expected in zip(actual, wanted, strict=True):
        assert mine.shape == expected.shape
        assert rel_error(mine, expected) <= 1e-5


def test_channels_last_maps(pair):
    _, ours, _ = pair
    last, maps = ours.forward_intermediates(X, output_fmt="NHWC")
    first, expected = ours.forward_intermediates(X)
    assert torch.equal(last, first)
    for feature, wanted in zip(maps, expected, strict=True):
        assert torch.equal(feature.permute(0, 3, 1, 2), wanted)
    with pytest.raises(ConfigError, match=r"output_fmt must be one of .*, got 'NLC'"):
        ours.forward_intermediates(X, output_fmt="NLC")


def test_the_channels_of_maps_are_those_that_feature_info_says(pair):
    _, ours, theirs = pair
    assert [dict(info) for info in ours.feature_info] == [
        info | {"index": i} for i, info in enumerate(theirs.feature_info)
    ]
    _, maps = ours.forward_intermediates(X)
    for feature, info in zip(maps, ours.feature_info, strict=True):
        assert feature.shape[1:] == (info["num_chs"], *(64 // info["reduction"],) * 2)


@pytest.mark.parametrize("out_indices", [None, (1, 3), (-1,), 3])
def test_features_only(out_indices, pair, rel_error):
    name, ours, theirs = pair
    kwargs = {} if out_indices is None else {"out_indices": out_indices}
    peer = timm.create_model(name, features_only=True, **kwargs).eval()
    peer.load_state_dict(ours.state_dict(), strict=False)
    mine = r2n_kernels.from_timm(theirs, features_only=True, **kwargs)
    actual, wanted = mine(X), peer(X)
    assert mine.feature_info.channels() == peer.feature_info.channels()
    assert mine.feature_info.reduction() == peer.feature_info.reduction()
    assert mine.state_dict().keys() == {k for k in theirs.state_dict() if not k.startswith("fc")}
    for a, e in zip(actual, wanted, strict=True):
        assert rel_error(a, e) <= 1e-5


def test_reset_classifier(pair):
    name, ours, _ = pair
    model = r2n_kernels.from_timm(ours)
    embedding = model.forward_head(model.forward_features(X), pre_logits=True)
    assert model.get_classifier() is model.fc
    assert model.get_classifier(name_only=True) == "fc"
    model.reset_classifier(10)
    assert model(X).shape == (2, 10)
    assert (model.num_classes, model.fc.out_features) == (10, 10)
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)
    torch.testing.assert_close(model(X), embedding)
    model.reset_classifier(0, "")
    assert model(X).shape == (2, model.num_features, 2, 2)
    model.reset_classifier(4, "catavgmax")
    assert model.head_hidden_size == 2 * model.num_features
    assert model(X).shape == (2, 4)
    assert r2n_kernels.create_model(name, num_classes=0)(X).shape == (2, model.num_features)


def test_what_serves_training(pair):
    _, ours, theirs = pair
    for coarse in (False, True):
        assert ours.group_matcher(coarse) == theirs.group_matcher(coarse)
    ours.set_grad_checkpointing(False)
    for call, match in (
        (ours.set_grad_checkpointing, "saves memory of gradients.*reference"),
        (ours.init_weights, "init_weights.*reference"),
        (lambda: ours.prune_intermediate_layers(1), "nothing needs to be cut off"),
        (ours.requires_grad_, r"requires_grad_\(\) was called.*reference"),
    ):
        with pytest.raises(InferenceOnlyError, match=match):
            call()
    with torch.enable_grad(), pytest.raises(InferenceOnlyError, match="backward reached"):
        ours(X.clone().requires_grad_()).mean().backward()


def test_the_table_names_all_of_timms_methods():
    table = DOCS.read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)\(", table))
    cls = timm.models.resnet.ResNet
    methods = {n for n, _ in inspect.getmembers(cls, inspect.isfunction) if n in vars(cls)}
    assert {n for n in methods if not n.startswith("_")} <= named
