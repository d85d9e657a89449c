from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.errors import WeightsError
from r2n_kernels.fold import FoldedConv, fold
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(2, 1), planes=(9, 14), cardinality=1, num_classes=3)
DEEP = SMALL.replace(deep_stem=True, avg_down=True, stem_width=6, scale=3)
GROUPED = SMALL.replace(cardinality=2, base_width=20)


def conv_bn_pairs(model: Res2Net) -> dict[str, tuple[torch.nn.Conv2d, torch.nn.BatchNorm2d]]:
    """Each convolution with the BatchNorm after it, found by their order of execution."""
    order: list[tuple[str, torch.nn.Module]] = []
    hooks = [
        module.register_forward_hook(lambda m, a, o, name=name: order.append((name, m)))
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d))
    ]
    model(torch.randn(1, model.config.in_chans, 32, 32))
    for hook in hooks:
        hook.remove()
    return {name: (a, b) for (name, a), (_, b) in zip(order[::2], order[1::2], strict=True)}


def folded(config: Res2NetConfig, model: Res2Net, dtype: torch.dtype) -> dict[str, FoldedConv]:
    net = fold(config, model.state_dict(), dtype)
    convs = list(net.stem)
    for block in net.blocks.values():
        convs += [block.conv1, *block.convs, block.conv3]
        convs += [] if block.shortcut is None else [block.shortcut]
    return {conv.name: conv for conv in convs}


@pytest.mark.parametrize("config", [SMALL, DEEP, GROUPED], ids=["small", "deep", "grouped"])
def test_folded_convolutions_equal_convolution_then_batchnorm(config, randomize, rel_error):
    model = randomize(Res2Net(config)).eval()
    pairs = conv_bn_pairs(model)
    found = folded(config, model, torch.float64)
    assert found.keys() == pairs.keys()
    for name, (conv, bn) in pairs.items():
        x = torch.randn(2, conv.in_channels, 9, 7, dtype=torch.float64)
        ours = found[name]
        padding = ours.weight.shape[-1] // 2
        actual = F.conv2d(x, ours.weight, ours.bias, ours.stride, padding, 1, ours.groups)
        with torch.no_grad():
            expected = bn.double()(conv.double()(x))
        assert rel_error(actual, expected) < 1e-13, name


def test_fold_is_done_in_float64(randomize):
    """Casting after folding beats folding after casting by the rounding of every factor."""
    model = randomize(Res2Net(SMALL)).eval()
    wide = folded(SMALL, model, torch.float64)
    for conv in folded(SMALL, model, torch.float32).values():
        assert torch.equal(conv.weight, wide[conv.name].weight.float())
        assert torch.equal(conv.bias, wide[conv.name].bias.float())


def test_overflow_in_half_precision_names_the_convolution(randomize):
    model = randomize(Res2Net(SMALL)).eval()
    model.layer2[0].bn3.weight[0] = 1e6
    with pytest.raises(WeightsError, match=r"layer2\.0\.conv3: \d+ values of the folded weight"):
        fold(SMALL, model.state_dict(), torch.float16)
    fold(SMALL, model.state_dict(), torch.bfloat16)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield
