"""The model that users hold: timm's interface over a folded network."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .config import Res2NetConfig
from .engine import TritonOptions, build_backend
from .engine.precision import exact
from .errors import ConfigError, InferenceOnlyError, KernelError
from .features import FeatureInfo
from .inference_only import ADVICE, refuse_backward
from .inputs import check_finite, check_input, scale_and_shift, stated_normalization
from .plan import Plan
from .tracing import refuse_script, tracing
from .weights import load_weights

logger = logging.getLogger("r2n_kernels.engine")

POOLS: Mapping[str, Callable[[Tensor], Tensor]] = {  # [N, C, H, W] -> [N, C]
    "avg": lambda x: x.mean(dim=(2, 3)),
    "max": lambda x: x.amax(dim=(2, 3)),
    "avgmax": lambda x: 0.5 * (x.mean(dim=(2, 3)) + x.amax(dim=(2, 3))),
    "": lambda x: x,
}
# Of unfolded weights: PyTorch's defaults are the surrounding program's.
CANONICAL: Mapping[str, Any] = MappingProxyType({"device": "cpu", "dtype": torch.float32})


class _Ready(NamedTuple):
    """An input that is checked, and what will run it."""

    backend: Any
    plan: Plan
    x: Tensor  # [N, C, H, W]
    normalization: tuple[Tensor, Tensor] | None


class Res2NetModel(nn.Module):
    """Res2Net inference: BatchNorm folded, run by a backend, with timm's methods and names.

    Built by `create_model` or `from_timm`. Moves and casts like any module (`.to`, `.half`, ...);
    `state_dict()` gives the unfolded weights under timm's names, in float32.
    """

    def __init__(
        self,
        config: Res2NetConfig,
        weights: Mapping[str, Tensor],
        *,
        pretrained_cfg: Mapping[str, Any],
        global_pool: str = "avg",
        features_only: bool = False,
        out_indices: Sequence[int] | None = None,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        check_finite: bool = False,
        triton: TritonOptions | None = None,
    ) -> None:
        """`weights` is a canonical state dict of float32 CPU tensors, already validated."""
        super().__init__()
        self.training = False
        self.config = config
        self.pretrained_cfg = dict(pretrained_cfg)
        self.num_classes = config.num_classes
        self.num_features = self.head_hidden_size = config.num_features
        self.global_pool = _checked_pool(global_pool, config.num_classes)
        self.features_only = features_only
        if out_indices is not None and not features_only:
            raise ConfigError("out_indices needs features_only=True")
        self.feature_info = FeatureInfo(config, out_indices)
        self.check_finite = check_finite
        self.backend_name, self.triton_options = backend, triton
        self._build(weights, dtype or torch.float32, _available(device))

    def _build(
        self, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        """Fold and pack; on an error the model stays as it was."""
        has_fc = self.num_classes > 0 and not self.features_only
        with torch.inference_mode(False):  # a model built in it must also run outside
            kept = {
                k: v.clone() if v.is_inference() else v
                for k, v in weights.items()
                if has_fc or not k.startswith("fc.")
            }
            self._backend = build_backend(
                self.backend_name, self.config, kept, dtype, device, self.triton_options
            )
            self._weights, self.dtype, self.device = kept, dtype, device
            self._normalizations: dict[tuple[tuple[float, ...], ...], tuple[Tensor, Tensor]] = {}
            self.fc = self._classifier()

    def _classifier(self) -> nn.Module:
        if "fc.weight" not in self._weights:
            return nn.Identity()
        fc = nn.utils.skip_init(nn.Linear, self.num_features, self.num_classes, **CANONICAL)
        fc.load_state_dict({k: self._weights[f"fc.{k}"] for k in ("weight", "bias")})
        return fc.requires_grad_(False).to(self.device, self.dtype).eval()

    @property
    def default_cfg(self) -> dict[str, Any]:
        return self.pretrained_cfg

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """What a forward pass of [batch, in_chans, height, width] does, step by step."""
        return self._backend.plan(batch, height, width)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """x [N, in_chans, H, W] in the model's dtype -> logits [N, num_classes].

        x may also be bytes, uint8 [N, H, W, in_chans], as images are decoded: they become
        (x / 255 - mean) / std, with mean and std of `pretrained_cfg`. So in every method.

        The embedding [N, num_features] where num_classes is 0; with features_only the list of
        feature maps of `out_indices`. Raises InputError naming what was expected and what came.
        """
        if self.features_only:
            return refuse_backward(self._features(x, self.feature_info.out_indices))
        ready = self._prepared(x)
        if ready.backend.runs_head and self.global_pool == "avg":
            output = "logits" if self.num_classes else "embedding"
            return refuse_backward(self._run(ready, [output]))[0]
        return self.forward_head(refuse_backward(self._run(ready, ready.plan.features[-1:]))[0])

    def forward_features(self, x: Tensor) -> Tensor:
        """[N, in_chans, H, W] -> [N, num_features, H/32, W/32], each halving rounded up."""
        return refuse_backward(self._features(x, [len(self.feature_info) - 1]))[0]

    def forward_intermediates(
        self, x: Tensor, indices: Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The last feature map, and those of `indices` (all by default), in the network's order."""
        indices = FeatureInfo(self.config, indices).out_indices
        last = len(self.feature_info) - 1
        *chosen, final = refuse_backward(self._features(x, [*indices, last]))
        return final, chosen

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[N, num_features, h, w] -> logits; the pooled embedding if pre_logits."""
        with exact(self.device, self.dtype):
            x = POOLS[self.global_pool](x)
            return x if pre_logits or self.num_classes == 0 else self.fc(x)

    def _features(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        ready = self._prepared(x)
        return self._run(ready, [ready.plan.features[i] for i in indices])

    def _run(self, ready: _Ready, names: Sequence[str]) -> list[Tensor]:
        backend, plan, x, normalization = ready
        if plan.batch == 0:
            return [x.new_empty(plan.buffers[name].shape, dtype=self.dtype) for name in names]
        return backend.run(plan, x, names, normalization)

    def _prepared(self, x: Tensor) -> _Ready:
        """x checked, as [N, C, H, W], and a backend that has compiled what it needs for it."""
        x = check_input(x, self.config.in_chans, self.dtype, self.device)
        if self.check_finite and x.dtype != torch.uint8:
            check_finite(x)
        shape = (x.shape[0], *x.shape[2:])
        normalization, backend = self._normalization(x), self._backend
        plan = backend.plan(*shape)
        try:
            if plan.batch:
                backend.prepare(plan, x, normalization)
        except KernelError as error:
            if self.backend_name != "auto":
                raise
            logger.warning("the torch backend takes over: %s", error)
            backend = build_backend("torch", self.config, self._weights, self.dtype, self.device)
            self._backend, plan = backend, backend.plan(*shape)
        return _Ready(backend, plan, x, normalization)

    def _normalization(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Scale and shift where x holds bytes."""
        if x.dtype != torch.uint8:
            return None
        stated = stated_normalization(self.pretrained_cfg, self.config.in_chans)
        if tracing():  # a graph holds its own
            return scale_and_shift(*stated, self.device)
        if stated not in self._normalizations:  # kept: a copy to a GPU waits for it
            self._normalizations[stated] = scale_and_shift(*stated, self.device)
        return self._normalizations[stated]

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A freshly initialised classifier of another size; 0 for none (embeddings)."""
        pool = _checked_pool(self.global_pool if global_pool is None else global_pool, num_classes)
        config = self.config.replace(num_classes=num_classes)
        if self.features_only:
            raise ConfigError("a features_only model has no classifier to reset")
        trunk = {k: v for k, v in self._weights.items() if not k.startswith("fc.")}
        self.config, self.num_classes, self.global_pool = config, num_classes, pool
        with torch.inference_mode(False):
            fresh = (
                nn.Linear(self.num_features, num_classes, **CANONICAL).state_dict(prefix="fc.")
                if num_classes
                else {}
            )
            self._weights = {**trunk, **fresh}
            self.fc = self._classifier()
        if self._backend.runs_head:
            self._build(self._weights, self.dtype, self.device)

    def state_dict(
        self,
        *,
        destination: dict[str, Tensor] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Tensor]:
        """The canonical, unfolded weights: timm's names, float32, on the CPU."""
        target = OrderedDict() if destination is None else destination
        target.update({prefix + k: v for k, v in self._weights.items()})
        return target

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> None:
        """Replace the weights and fold anew. Raises WeightsError; always strict, never half."""
        if not strict:
            raise ConfigError("load_state_dict is always strict here; got strict=False")
        config = self.config.replace(num_classes=0) if self.features_only else self.config
        weights = load_weights(dict(state_dict), config).state
        self._build(weights, self.dtype, self.device)

    def train(self, mode: bool = True) -> Res2NetModel:
        if mode:
            raise InferenceOnlyError(f"train() was called. {ADVICE}")
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Res2NetModel:
        if requires_grad:
            raise InferenceOnlyError(f"requires_grad_() was called. {ADVICE}")
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Res2NetModel:
        """`.to`, `.cuda`, `.half` and their like: fold anew for the new device and dtype."""
        probe = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        if (probe.dtype, probe.device) == (self.dtype, self.device):
            return super()._apply(fn, recurse)
        self._build(self._weights, probe.dtype, probe.device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights: they are tied to this machine."""
        return {k: v for k, v in self.__dict__.items() if k != "_backend"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._build(self._weights, self.dtype, self.device)

    def __prepare_scriptable__(self) -> Res2NetModel:
        return refuse_script(self)

    def extra_repr(self) -> str:
        return f"{self.config}, backend={self._backend.name}, {self.dtype}, {self.device}"


def _available(device: torch.device | str | None) -> torch.device:
    """The device with its index: "cuda" becomes "cuda:0". None is the CPU, whatever is default."""
    try:
        return torch.empty(0, device="cpu" if device is None else device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either where there is no GPU
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device '{device}' cannot be used: {reason}") from error


def _checked_pool(global_pool: str, num_classes: int) -> str:
    if global_pool not in POOLS:
        names = ", ".join(repr(name) for name in POOLS)
        raise ConfigError(f"unknown global_pool '{global_pool}'; expected one of {names}")
    if not global_pool and num_classes:
        raise ConfigError("global_pool='' keeps the feature map, which needs num_classes=0")
    return global_pool
