"""The model that users hold: timm's modules, names and methods over a folded network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ..config import Res2NetConfig
from ..engine import TritonOptions
from ..engine.precision import exact
from ..errors import ConfigError
from ..features import FeatureInfo
from ..inference_only import refuse_backward
from ..inputs import check_finite, check_input, scale_and_shift, stated_normalization
from ..plan import Plan
from ..tracing import refuse_script, tracing
from .owner import Owner
from .packed import Packed
from .training_methods import TrainingMethods

logger = logging.getLogger("r2n_kernels.engine")

FORMATS = ("NCHW", "NHWC")


class Res2NetModel(TrainingMethods, Owner):
    """Res2Net inference: BatchNorm folded, run by a backend, with timm's modules and methods.

    Built by `create_model` or `from_timm`. The parameters are the unfolded weights under timm's
    names: frozen, float32, on the model's device. What the backend runs is packed from them, in
    `dtype`, and packed anew when they, or the modules, were changed. `.to`, `.half` and their like
    move the parameters and change `dtype`, so nothing is lost on the way to half precision and
    back.

    Modules that were replaced, or have hooks, are obeyed: in the head (`global_pool`, `fc`) the
    backend stops before them; in front of it the network then runs module by module, in float32,
    which a warning says. Not seen are writes through `tensor.data`, which PyTorch does not count:
    call `refold()` after them.
    """

    def __init__(
        self,
        config: Res2NetConfig,
        weights: Mapping[str, Tensor],
        *,
        pretrained_cfg: Mapping[str, Any],
        features_only: bool = False,
        out_indices: int | Sequence[int] | None = None,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        check_finite: bool = False,
        triton: TritonOptions | None = None,
    ) -> None:
        """`weights` is a canonical state dict, already validated; the model takes it over."""
        if out_indices is not None and not features_only:
            raise ConfigError("out_indices needs features_only=True")
        super().__init__(
            config, weights, has_classifier=config.num_classes > 0 and not features_only,
            backend=backend, dtype=dtype or torch.float32, device=device, triton=triton,
        )  # fmt: skip
        self.pretrained_cfg = dict(pretrained_cfg)
        self._describe(config)
        self.features_only = features_only
        self.feature_info = FeatureInfo(config, out_indices)
        self.check_finite = check_finite

    def _describe(self, config: Res2NetConfig) -> None:
        self.config = config
        self.num_classes, self.in_chans = config.num_classes, config.in_chans
        self.num_features, self.head_hidden_size = config.num_features, config.pooled_features

    @property
    def default_cfg(self) -> dict[str, Any]:
        return self.pretrained_cfg

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """x [N, in_chans, H, W] in the model's dtype -> logits [N, num_classes].

        x may also be bytes, uint8 [N, H, W, in_chans], as images are decoded: they become
        (x / 255 - mean) / std, with mean and std of `pretrained_cfg`. So in every method.

        The embedding [N, head_hidden_size] where num_classes is 0; with features_only the list of
        feature maps of `out_indices`. Raises InputError naming what was expected and what came.
        """
        if isinstance(x, Proxy):
            return self._symbolic(x)
        if self.features_only:
            return self._maps(x, self.feature_info.out_indices)
        return self._current(lambda packed: self._logits(packed, x))

    def _symbolic(self, x: Proxy) -> Any:
        """The modules, in their own dtype: who traces symbols takes them apart by name."""
        maps = self.feature_maps(x)
        if self.features_only:
            return [maps[i] for i in self.feature_info.out_indices]
        return self.fc(self.global_pool(maps[-1]))

    def forward_features(self, x: Tensor) -> Tensor:
        """[N, in_chans, H, W] -> [N, num_features, H/32, W/32], each halving rounded up."""
        return self._maps(x, [len(self.feature_info) - 1])[0]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last feature map, and those of `indices`, in the network's order.

        indices: all by default; an int n takes the last n. norm changes nothing: no norm follows
        a map. stop_early: compute nothing behind the last of `indices`, and give what is there in
        place of the last map. output_fmt: "NCHW", or "NHWC" for the maps of `indices`.
        intermediates_only: give these alone. Raises ConfigError for other values.
        """
        if output_fmt not in FORMATS:
            raise ConfigError(f"output_fmt must be one of {FORMATS}, got {output_fmt!r}")
        chosen = FeatureInfo(self.config, indices).out_indices
        end = max(chosen) if stop_early or intermediates_only else len(self.feature_info) - 1
        *maps, last = self._maps(x, [*chosen, end])
        if output_fmt == "NHWC":
            maps = [feature.permute(0, 2, 3, 1) for feature in maps]
        if intermediates_only:
            return maps
        return (last if end else self.maxpool(last)), maps  # the pool follows the stem, as in timm

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[N, num_features, h, w] -> logits; the pooled embedding if pre_logits."""
        with exact(self.device, torch.float32):
            x = _in_its_dtype(self.global_pool, x)
            return x if pre_logits else _in_its_dtype(self.fc, x)

    def _maps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        def compute(packed: Packed) -> list[Tensor]:
            checked = self._checked(packed, x)
            if self._why_unfused():
                return self._unfused(packed, checked, indices)
            return self._folded(packed, checked, lambda plan: [plan.features[i] for i in indices])

        return self._current(compute)

    def _logits(self, packed: Packed, x: Tensor) -> Tensor:
        x = self._checked(packed, x)
        if self._why_unfused():
            return self.forward_head(self._unfused(packed, x, [-1])[0])
        if self._runs_head():
            return self._folded(packed, x, lambda plan: [packed.output])[0]
        return self.forward_head(self._folded(packed, x, lambda plan: plan.features[-1:])[0])

    def _checked(self, packed: Packed, x: Tensor) -> Tensor:
        """x as [N, C, H, W]."""
        x = check_input(x, packed.in_chans, self.dtype, self.device)
        if self.check_finite and x.dtype != torch.uint8:
            check_finite(x)
        return x

    def _folded(
        self, packed: Packed, x: Tensor, names_of: Callable[[Plan], Sequence[str]]
    ) -> list[Tensor]:
        """The backend's buffers of these names, for x [N, C, H, W]."""
        backend, normalization = packed.backend, self._normalization(packed, x)
        plan = backend.plan(x.shape[0], *x.shape[2:])
        names, data = names_of(plan), x.detach()
        if plan.batch == 0:
            return [x.new_empty(plan.buffers[name].shape, dtype=self.dtype) for name in names]
        backend.prepare(plan, data, normalization)
        outputs = backend.run(plan, data, names, normalization)
        if tracing() or not torch.is_grad_enabled():
            return outputs
        if not (x.requires_grad or packed.wants_gradients()):
            return outputs
        return refuse_backward(outputs)

    def _unfused(self, packed: Packed, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Feature maps, module by module, in the dtype of the modules."""
        if (normalization := self._normalization(packed, x)) is not None:
            scale, shift = normalization
            x = x.float() * scale[:, None, None] + shift[:, None, None]
            x = x.to(self.dtype)
        first = next(self.parameters(), None)
        with exact(self.device, torch.float32):
            maps = self.feature_maps(x if first is None else x.to(first.dtype))
        return [maps[i].to(self.dtype) for i in indices]

    def _normalization(self, packed: Packed, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Scale and shift where x holds bytes."""
        if x.dtype != torch.uint8:
            return None
        stated = stated_normalization(self.pretrained_cfg, packed.in_chans)
        if tracing():  # a graph holds its own
            return scale_and_shift(*stated, self.device)
        if stated not in self._normalizations:  # kept: a copy to a GPU waits for it
            self._normalizations[stated] = scale_and_shift(*stated, self.device)
        return self._normalizations[stated]

    def __prepare_scriptable__(self) -> Res2NetModel:
        return refuse_script(self)

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A freshly initialised classifier of another size; 0 for none (embeddings)."""
        if self.features_only:
            raise ConfigError("a features_only model has no classifier to reset")
        pool = self.config.global_pool if global_pool is None else global_pool
        config = self.config.replace(num_classes=num_classes, global_pool=pool)
        self._replace_head(config)
        self._describe(config)


def _in_its_dtype(head: nn.Module, x: Tensor) -> Any:
    """What a module of the head gives, in the dtype of its parameters, of x in another one."""
    first = next(head.parameters(), x)
    y = head(x.to(first.dtype))
    return y.to(x.dtype) if first.dtype != x.dtype and isinstance(y, Tensor) else y
