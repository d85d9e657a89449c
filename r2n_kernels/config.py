"""This file has the nine Res2Nets: architecture, and how their checkpoints want images prepared."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .errors import ConfigError, UnknownModelError

EXPANSION = 4  # a block's output channels are EXPANSION * planes
STEM_CHANNELS = 64
MIN_SIZE = 32  # the network halves its input five times
# timm's names; a fast one computes what the other computes
POOLS = ("avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax",
         "fastcatavgmax", "")  # fmt: skip


def pool_kind(name: str) -> str:
    """Return what a pooling of POOLS computes: "avg", "max", "avgmax", "catavgmax" or ""."""
    return name.removeprefix("fast") or ("avg" if name else "")


@dataclass(frozen=True)
class BlockConfig:
    """A BlockConfig is one Bottle2neck block of a network."""

    name: str  # "layer1.0"
    layer: int  # of the network's, from 0
    in_channels: int
    out_channels: int
    width: int  # channels of one split
    stride: int
    is_first: bool  # strides or projects: no hierarchical add, pooled last split, own shortcut


@dataclass(frozen=True)
class Res2NetConfig:
    """A Res2NetConfig is a Res2Net's architecture (Gao et al., arXiv 1904.01169), in timm's words.

    Raises ConfigError when a value cannot make a network.
    """

    layers: tuple[int, ...] = (3, 4, 6, 3)  # blocks per layer
    planes: tuple[int, ...] = (64, 128, 256, 512)  # per layer, which yields EXPANSION * planes
    base_width: int = 26  # channels of one split, per 64 planes
    scale: int = 4  # splits per block
    cardinality: int = 1  # groups of each 3x3 convolution
    stem_width: int = 64  # only the deep stem reads it
    deep_stem: bool = False  # three 3x3 instead of one 7x7 (timm's "d" variants, the authors' v1b)
    avg_down: bool = False  # shortcut: average pool, then a 1x1 of stride 1
    in_chans: int = 3
    num_classes: int = 1000  # 0: no classifier
    global_pool: str = "avg"  # one of POOLS

    def __post_init__(self) -> None:
        for name in ("layers", "planes"):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)) or not all(type(v) is int for v in value):
                raise ConfigError(f"{name} must be a tuple of ints, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        counts = ("base_width", "scale", "cardinality", "stem_width", "in_chans", "num_classes")
        for name in counts:
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name} must be an int, got {getattr(self, name)!r}")
        if not self.layers or len(self.layers) != len(self.planes):
            raise ConfigError(
                f"layers and planes must have the same, non-zero length, got {self.layers} "
                f"and {self.planes}"
            )
        positive = {
            "layers": min(self.layers),
            "planes": min(self.planes),
            "base_width": self.base_width,
            "scale": self.scale,
            "cardinality": self.cardinality,
            "stem_width": self.stem_width,
            "in_chans": self.in_chans,
        }
        for name, value in positive.items():
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be 0 or more, got {self.num_classes}")
        if self.global_pool not in POOLS:
            names = ", ".join(repr(name) for name in POOLS)
            raise ConfigError(f"unknown global_pool {self.global_pool!r}; expected one of {names}")
        if not self.global_pool and self.num_classes:
            raise ConfigError("global_pool='' keeps the feature map, which needs num_classes=0")
        if min(self.width(layer) for layer in range(len(self.planes))) < 1:
            raise ConfigError(
                f"planes {self.planes} with base_width {self.base_width} leave a split no channel"
            )

    def width(self, layer: int) -> int:
        """Return a split's channels in a layer: floor(planes * base_width / 64) * cardinality."""
        return math.floor(self.planes[layer] * self.base_width / 64) * self.cardinality

    @property
    def num_convs(self) -> int:
        """Count a block's 3x3 convolutions: the last split has none, unless it is the only one."""
        return max(1, self.scale - 1)

    def blocks(self) -> Iterator[BlockConfig]:
        """Yield every block of the network, in order."""
        channels = self.stem_channels
        for layer, depth in enumerate(self.layers):
            out = self.planes[layer] * EXPANSION
            for index in range(depth):
                stride = 2 if layer > 0 and index == 0 else 1
                yield BlockConfig(
                    name=f"layer{layer + 1}.{index}",
                    layer=layer,
                    in_channels=channels,
                    out_channels=out,
                    width=self.width(layer),
                    stride=stride,
                    is_first=stride > 1 or channels != out,
                )
                channels = out

    @property
    def parameters(self) -> int:
        """Count parameters, unfolded: convolutions, BatchNorm's weight and bias, classifier."""

        def conv_bn(ci: int, co: int, r: int, groups: int = 1) -> int:
            return ci // groups * co * r * r + 2 * co

        mid, channels, s = self.stem_width, self.stem_channels, self.scale
        total = conv_bn(self.in_chans, channels, 7)
        if self.deep_stem:
            total = (
                conv_bn(self.in_chans, mid, 3) + conv_bn(mid, mid, 3) + conv_bn(mid, channels, 3)
            )
        for block in self.blocks():
            w, ci, co = block.width, block.in_channels, block.out_channels
            total += conv_bn(ci, w * s, 1) + conv_bn(w * s, co, 1)
            total += self.num_convs * conv_bn(w, w, 3, self.cardinality)
            total += conv_bn(ci, co, 1) if block.is_first else 0
        return total + (self.pooled_features + 1) * self.num_classes

    @property
    def stem_channels(self) -> int:
        return 2 * self.stem_width if self.deep_stem else STEM_CHANNELS

    @property
    def num_features(self) -> int:
        """Return the channels of the last feature map."""
        return self.planes[-1] * EXPANSION

    @property
    def pooled_features(self) -> int:
        """Return the length of an embedding, which the classifier reads."""
        return self.num_features * (2 if pool_kind(self.global_pool) == "catavgmax" else 1)

    def replace(self, **changes: Any) -> Res2NetConfig:
        return dataclasses.replace(self, **changes)


_R50, _R101 = (3, 4, 6, 3), (3, 4, 23, 3)

# In natural order, which is that of timm's list.
VARIANTS = MappingProxyType(
    {
        "res2net50_14w_8s": Res2NetConfig(_R50, base_width=14, scale=8),
        "res2net50_26w_4s": Res2NetConfig(_R50),
        "res2net50_26w_6s": Res2NetConfig(_R50, scale=6),
        "res2net50_26w_8s": Res2NetConfig(_R50, scale=8),
        "res2net50_48w_2s": Res2NetConfig(_R50, base_width=48, scale=2),
        "res2net50d": Res2NetConfig(_R50, stem_width=32, deep_stem=True, avg_down=True),
        "res2net101_26w_4s": Res2NetConfig(_R101),
        "res2net101d": Res2NetConfig(_R101, stem_width=32, deep_stem=True, avg_down=True),
        "res2next50": Res2NetConfig(_R50, base_width=4, cardinality=8),
    }
)
HEADLINE = "res2net101_26w_4s"
PRETRAINED_TAG = "in1k"


def variant_name(name: str) -> str:
    """Strip the `.in1k` tag and check the name.

    Raises UnknownModelError, naming the nearest variants, for any other name or tag.
    """
    base, dot, tag = name.partition(".")
    if base not in VARIANTS:
        near = difflib.get_close_matches(base, VARIANTS, n=3, cutoff=0.4) or list(VARIANTS)
        raise UnknownModelError(f"unknown model '{name}'; nearest: {', '.join(near)}")
    if dot and tag != PRETRAINED_TAG:
        raise UnknownModelError(f"unknown tag '{tag}' of '{base}'; expected '{PRETRAINED_TAG}'")
    return base


def default_pretrained_cfg(name: str) -> dict[str, Any]:
    """Return how the variant's `in1k` checkpoint was trained and wants its images (timm's keys).

    Bilinear, crop 0.875, ImageNet mean and std: from the timm model cards.
    """
    base = variant_name(name)
    return {
        "url": "",
        "hf_hub_id": f"timm/{base}.{PRETRAINED_TAG}",
        "architecture": base,
        "tag": PRETRAINED_TAG,
        "custom_load": False,
        "input_size": (3, 224, 224),
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "num_classes": 1000,
        "pool_size": (7, 7),
        "first_conv": "conv1.0" if VARIANTS[base].deep_stem else "conv1",
        "classifier": "fc",
        "license": "unknown",
    }
