"""Live modules: timm's Res2Nets fit, everything that computes otherwise does not."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.res2net import Bottle2neck
from timm.models.resnet import ResNet
from torch import nn

from r2n_kernels.config import VARIANTS
from r2n_kernels.errors import ConfigError
from r2n_kernels.reference import Res2Net
from r2n_kernels.weights import config_from_module, load_weights


def tiny_timm(config, **kwargs) -> ResNet:
    kwargs = {"block_args": {"scale": config.scale}} | kwargs
    return ResNet(
        Bottle2neck,
        layers=config.layers,
        channels=config.planes,
        num_classes=config.num_classes,
        in_chans=config.in_chans,
        cardinality=config.cardinality,
        base_width=config.base_width,
        stem_width=config.stem_width,
        stem_type="deep" if config.deep_stem else "",
        avg_down=config.avg_down,
        **kwargs,
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_timm(name):
    with torch.device("meta"):
        module = timm.create_model(name, num_classes=10, in_chans=4)
    assert config_from_module(module) == VARIANTS[name].replace(num_classes=10, in_chans=4)


def test_timm_weights_give_timm_numbers(config):
    module = tiny_timm(config).eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1) if name.endswith("var") else tensor.normal_(std=0.2)
    found = config_from_module(module)
    network = Res2Net(found).eval()
    network.load_state_dict(load_weights(module, found).state, strict=True)
    x = torch.randn(2, config.in_chans, 40, 33)
    torch.testing.assert_close(network(x), module(x), rtol=1e-5, atol=1e-5)


def test_reference(config):
    assert config_from_module(Res2Net(config)) == config


def test_reference_with_another_classifier(tiny):
    module = Res2Net(tiny)
    module.fc = nn.Linear(tiny.num_features, 9)
    assert config_from_module(module) == tiny.replace(num_classes=9)


def test_wrappers_are_looked_through(tiny):
    assert config_from_module(nn.DataParallel(torch.compile(Res2Net(tiny)))) == tiny


@pytest.mark.parametrize(
    "change",
    [
        lambda m: nn.SyncBatchNorm.convert_sync_batchnorm(m),
        lambda m: m.half(),
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.train(),
    ],
    ids=["sync", "half", "channels_last", "train"],
)
def test_harmless_changes(change, tiny):
    module = change(tiny_timm(tiny, drop_path_rate=0.2, drop_rate=0.5))
    config = config_from_module(module)
    assert config.layers == tiny.layers
    load_weights(module, config)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"output_stride": 16}, r"layer4.0.convs.0.stride is 1, expected 2"),
        ({"output_stride": 8}, r"layer3.0.convs.0.stride is 1, expected 2"),
        ({"act_layer": "silu"}, r"act1 is SiLU, expected ReLU; layer1.0.relu is SiLU"),
        ({"norm_layer": lambda c, **kw: nn.GroupNorm(1, c, **kw)}, r"bn1.running_mean .* missing"),
        ({"norm_layer": lambda c, **kw: nn.BatchNorm2d(c, eps=1e-3, **kw)}, r"bn1.eps is 0.001"),
        (
            {"drop_block_rate": 0.1},
            r"layer3.0.drop_block is DropBlock2d: replace it by",
        ),
        ({"stem_type": "deep_tiered", "stem_width": 8}, r"conv1.3.weight is \(8, 6, 3, 3\)"),
        ({"replace_stem_pool": True}, r"maxpool is Sequential, expected MaxPool2d"),
        ({"down_kernel_size": 3}, r"layer2.0.downsample.0.weight is \(64, 32, 3, 3\), expected"),
        (
            {"block_args": {"scale": 4, "attn_layer": timm.layers.SEModule}},
            r"layer1.0.se is SEModule: attention is not supported",
        ),
    ],
)
def test_misfits(kwargs, match, tiny):
    base = tiny_timm(tiny).__class__
    arguments = {
        "layers": tiny.layers,
        "channels": tiny.planes,
        "base_width": tiny.base_width,
        "num_classes": 5,
        "block_args": {"scale": 4},
    }
    with pytest.raises(ConfigError, match=rf"ResNet does not fit: .*{match}"):
        config_from_module(base(Bottle2neck, **(arguments | kwargs)))


@pytest.mark.parametrize(
    ("part", "replacement", "match"),
    [
        ("layer1.0.conv1", nn.Conv2d(64, 16, 1, bias=True), r"layer1.0.conv1.bias .* no place"),
        (
            "layer2.0.pool",
            nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            r"count_include_pad",
        ),
        ("layer2.0.pool", nn.MaxPool2d(3, 2, 1), r"layer2.0.pool is MaxPool2d, expected AvgPool2d"),
        ("maxpool", nn.MaxPool2d(3, 2, 1, ceil_mode=True), r"maxpool.ceil_mode is True"),
        ("fc", nn.Sequential(nn.Dropout(), nn.Linear(128, 5)), r"fc.1.weight .* no place"),
        ("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False, padding_mode="reflect"), r"padding_mode"),
    ],
)
def test_replaced_parts(part, replacement, match, tiny):
    module = tiny_timm(tiny)
    parent, _, leaf = part.rpartition(".")
    setattr(module.get_submodule(parent), leaf, replacement)
    with pytest.raises(ConfigError, match=match):
        config_from_module(module)


def test_parametrised_part(tiny):
    module = tiny_timm(tiny)
    nn.utils.parametrizations.weight_norm(module.fc)
    with pytest.raises(ConfigError, match=r"fc.parametrizations.weight.original0"):
        config_from_module(module)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: timm.create_model("resnet50"), r"expected Bottle2neck blocks, found Bottleneck"),
        (lambda: nn.Linear(2, 2), r"Linear is not a timm Res2Net: it has no module conv1, bn1"),
        (
            lambda: timm.create_model("res2net50_26w_4s", features_only=True),
            r"FeatureListNet is not a timm Res2Net: it has no module fc",
        ),
    ],
)
def test_other_modules(build, match):
    with torch.device("meta"):
        module = build()
    with pytest.raises(ConfigError, match=match):
        config_from_module(module)
