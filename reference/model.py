"""This is Res2Net in plain PyTorch (Gao et al., arXiv 1904.01169), with timm's parameter names.

    x -> stem -> layer 1..4 (Bottle2neck blocks) -> global pool -> fc

One block, split into `scale` groups of `width` channels:

    x_1 .. x_s = split(relu(bn(conv1x1(x))))
    y_1 = relu(bn(conv3x3(x_1)))
    y_i = relu(bn(conv3x3(y_(i-1) + x_i)))      # the hierarchical add, before the convolution
    y_s = x_s                                   # the last split passes through
    out = relu(bn(conv1x1(cat(y))) + shortcut(x))

A layer's first block has no add and pools its last split instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..config import STEM_CHANNELS, BlockConfig, Res2NetConfig
from .pool import GlobalPool

Place = dict[str, Any]  # device and dtype of parameters


class Bottle2neck(nn.Module):
    """A block maps [N, Ci, H, W] to [N, EXPANSION * planes, H / stride, W / stride]."""

    def __init__(
        self,
        config: Res2NetConfig,
        block: BlockConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        place: Place = {"device": device, "dtype": dtype}
        width, stride, hidden = block.width, block.stride, block.width * config.scale
        self.width, self.scale, self.is_first = width, config.scale, block.is_first

        self.conv1 = nn.Conv2d(block.in_channels, hidden, 1, bias=False, **place)
        self.bn1 = nn.BatchNorm2d(hidden, **place)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride, 1, groups=config.cardinality, bias=False, **place)
            for _ in range(config.num_convs)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width, **place) for _ in range(config.num_convs))
        self.conv3 = nn.Conv2d(hidden, block.out_channels, 1, bias=False, **place)
        self.bn3 = nn.BatchNorm2d(block.out_channels, **place)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(block, config.avg_down, place) if block.is_first else None
        # count_include_pad stays True: the published weights were trained so.
        self.pool = nn.AvgPool2d(3, stride, padding=1) if block.is_first else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.hierarchy(self.relu(self.bn1(self.conv1(x))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn3(self.conv3(y)) + shortcut)

    def hierarchy(self, y: Tensor) -> Tensor:
        """Map x_1 .. x_s to y_1 .. y_s, [N, scale * width, H, W] to [N, scale * width, Ho, Wo]."""
        splits = y.split(self.width, dim=1)
        outs: list[Tensor] = []
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            hierarchical = i > 0 and not self.is_first
            z = outs[-1] + splits[i] if hierarchical else splits[i]
            outs.append(self.relu(bn(conv(z))))
        if self.scale > 1:
            outs.append(splits[-1] if self.pool is None else self.pool(splits[-1]))
        return torch.cat(outs, dim=1)


def _shortcut(block: BlockConfig, avg_down: bool, place: Place) -> nn.Sequential:
    """Make a 1x1 projection; in the `d` variants the stride sits in an average pool before it."""
    ci, co, stride = block.in_channels, block.out_channels, block.stride
    if not avg_down:
        return nn.Sequential(
            nn.Conv2d(ci, co, 1, stride, bias=False, **place), nn.BatchNorm2d(co, **place)
        )
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(
        pool if stride > 1 else nn.Identity(),
        nn.Conv2d(ci, co, 1, bias=False, **place),
        nn.BatchNorm2d(co, **place),
    )


def _stem(config: Res2NetConfig, place: Place) -> nn.Module:
    """Map [N, Ci, H, W] to [N, 64, H/2, W/2]: a 7x7 or three 3x3; the first convolution strides."""
    if not config.deep_stem:
        return nn.Conv2d(config.in_chans, STEM_CHANNELS, 7, 2, 3, bias=False, **place)
    mid = config.stem_width
    out = 2 * mid
    return nn.Sequential(
        nn.Conv2d(config.in_chans, mid, 3, 2, 1, bias=False, **place),
        nn.BatchNorm2d(mid, **place),
        nn.ReLU(),
        nn.Conv2d(mid, mid, 3, 1, 1, bias=False, **place),
        nn.BatchNorm2d(mid, **place),
        nn.ReLU(),
        nn.Conv2d(mid, out, 3, 1, 1, bias=False, **place),
    )


class Res2Net(nn.Module):
    """A Res2Net takes any `Res2NetConfig`, is trainable, and loads timm's state dict strictly.

    x: [N, in_chans, H, W] float, H and W >= 32. Returns logits [N, num_classes], or the
    embedding [N, pooled_features] when num_classes is 0.
    """

    def __init__(
        self,
        config: Res2NetConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make parameters on `device`, of `dtype`: PyTorch's defaults where these are None."""
        super().__init__()
        place: Place = {"device": device, "dtype": dtype}
        self.config = config
        channels = config.stem_channels
        self.conv1 = _stem(config, place)
        self.bn1 = nn.BatchNorm2d(channels, **place)
        self.act1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        for layer in range(len(config.layers)):
            blocks = [Bottle2neck(config, b, **place) for b in config.blocks() if b.layer == layer]
            self.add_module(f"layer{layer + 1}", nn.Sequential(*blocks))
        self.global_pool = GlobalPool(config.global_pool)
        has_fc, features = config.num_classes > 0, config.pooled_features
        self.fc = nn.Linear(features, config.num_classes, **place) if has_fc else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps after the stem's activation, before the max-pool; then of each layer."""
        features = [self.act1(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for i in range(len(self.config.layers)):
            x = getattr(self, f"layer{i + 1}")(x)
            features.append(x)
        return features

    def forward_features(self, x: Tensor) -> Tensor:
        """Map [N, in_chans, H, W] to [N, num_features, H/32, W/32], each halving rounded up."""
        return self.feature_maps(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map [N, num_features, h, w] to logits, or to the pooled embedding if pre_logits."""
        x = self.global_pool(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))
