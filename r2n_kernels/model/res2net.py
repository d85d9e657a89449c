"""Users hold this model: timm's modules, names and methods over a folded network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Res2NetConfig
from ..engine import TritonOptions
from ..engine.precision import exact
from ..errors import ConfigError
from ..features import FeatureInfo
from ..fold.quantization import Quantization
from ..tracing import at_trace_time, refuse_script, tracing
from .passes import Passes, in_its_dtype
from .training_methods import TrainingMethods
from .views import Views


class Res2NetModel(TrainingMethods, Views, Passes):
    """A Res2Net for inference has BatchNorm folded, runs on a backend, and has timm's methods.

    Built by `create_model` or `from_timm`. The parameters are the unfolded weights under timm's
    names: frozen, float32, on the model's device. What the backend runs is packed from them, in
    `dtype`, and packed anew when they, or the modules, were changed. `.to`, `.half` and their like
    move the parameters and change `dtype`, so nothing is lost on the way to half precision and
    back.

    Modules that were replaced, or have hooks, are obeyed: in the head (`global_pool`, `fc`) the
    backend stops before them; in front of it the network then runs module by module, in float32,
    which a warning says. Writes that PyTorch does not count, through `tensor.data`, are not always
    seen: call `refold()` after them.
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
        low_memory: bool = False,
        frozen: bool = False,
        quantization: Quantization | None = None,
    ) -> None:
        """Take over `weights`, a canonical state dict that was validated.

        quantization: of these weights, which the backend "openvino" then runs in int8.
        """
        if out_indices is not None and not features_only:
            raise ConfigError("out_indices needs features_only=True")
        super().__init__(
            config, weights, has_classifier=config.num_classes > 0 and not features_only,
            backend=backend, dtype=dtype or torch.float32, device=device, triton=triton,
            low_memory=low_memory, frozen=frozen, quantization=quantization,
        )  # fmt: skip
        self.pretrained_cfg = dict(pretrained_cfg)
        self._describe(config)
        self.features_only = features_only
        self.feature_info = FeatureInfo(config, out_indices)
        self.check_finite = check_finite

    # the reference has no features_only, which gives a list
    def forward(self, x: Tensor) -> Tensor | list[Tensor]:  # type: ignore[override]
        """Turn x [N, in_chans, H, W] in the model's dtype into logits [N, num_classes].

        x may also be bytes, uint8 [N, H, W, in_chans], as images are decoded: they become
        (x / 255 - mean) / std, with mean and std of `pretrained_cfg`. So in every method.

        The embedding [N, head_hidden_size] where num_classes is 0; with features_only the list of
        feature maps of `out_indices`. Raises InputError naming what was expected and what came.
        """
        if self.features_only:
            return self.outputs(x, self.feature_info.out_indices)
        if self._has_methods_of_others():
            return self.forward_head(self.forward_features(x))
        while True:
            loads = self._loads
            (output,) = self.outputs(x, (), ("logits",))
            if tracing() or (loads == self._loads and not loads % 2):
                return output
            with self._lock:  # another thread was loading: perhaps the trunk was old, the head new
                pass

    @at_trace_time
    def _has_methods_of_others(self) -> bool:
        """Return whether the parts of a pass were replaced, on the model or in a subclass."""
        names = ("forward_features", "forward_head")
        return any(
            name in vars(self) or getattr(type(self), name) is not getattr(Res2NetModel, name)
            for name in names
        )

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Turn [N, num_features, h, w] into logits; the pooled embedding if pre_logits."""
        with exact(self.device, torch.float32):
            x = in_its_dtype(self.global_pool, x)
            return x if pre_logits else in_its_dtype(self.fc, x)

    def __prepare_scriptable__(self) -> Res2NetModel:
        return refuse_script(self)

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put in a freshly initialised classifier of another size; 0 for none (embeddings)."""
        if self.features_only:
            raise ConfigError("a features_only model has no classifier to reset")
        pool = self.config.global_pool if global_pool is None else global_pool
        config = self.config.replace(num_classes=num_classes, global_pool=pool)
        self._replace_head(config)
        self._describe(config)
