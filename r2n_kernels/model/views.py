"""Views have timm's methods for feature maps and names for what a network is, over one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..features import FeatureInfo

FORMATS = ("NCHW", "NHWC")


class Views:
    """Views give a model's feature maps, which its `outputs` computes."""

    config: Res2NetConfig
    pretrained_cfg: dict[str, Any]
    feature_info: FeatureInfo
    maxpool: nn.MaxPool2d
    outputs: Callable[..., list[Tensor]]  # (x, maps, head)

    def _describe(self, config: Res2NetConfig) -> None:
        self.config = config
        self.num_classes, self.in_chans = config.num_classes, config.in_chans
        self.num_features, self.head_hidden_size = config.num_features, config.pooled_features

    @property
    def default_cfg(self) -> dict[str, Any]:
        return self.pretrained_cfg

    def forward_features(self, x: Tensor) -> Tensor:
        """Turn [N, in_chans, H, W] into [N, num_features, H/32, W/32], each halving rounded up."""
        return self.outputs(x, [len(self.feature_info) - 1])[0]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last feature map, and those of `indices`, in the network's order.

        indices: all by default; an int n takes the last n. norm changes nothing: no norm follows
        a map. stop_early: compute nothing behind the last of `indices`, and give what is there in
        place of the last map. output_fmt: "NCHW", or "NHWC" for the maps of `indices`.
        intermediates_only: give these alone. Raises ConfigError for other values.
        """
        if output_fmt not in FORMATS:
            raise ConfigError(f"output_fmt must be one of {FORMATS}, got {output_fmt!r}")
        chosen = FeatureInfo(self.config, indices).out_indices
        end = max(chosen) if stop_early or intermediates_only else len(self.feature_info) - 1
        *maps, last = self.outputs(x, [*chosen, end])
        if output_fmt == "NHWC":
            maps = [feature.permute(0, 2, 3, 1) for feature in maps]
        if intermediates_only:
            return maps
        return (last if end else self.maxpool(last)), maps  # the pool follows the stem, as in timm
