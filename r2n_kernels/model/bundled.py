"""A bundle's network computes what a model does, without modules or weights to be changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..bundle import Bundle
from ..bundle.ops import fitted
from ..data import labels_for
from ..engine import Backend
from ..engine.backend import Normalization
from ..engine.kernel_backend import KernelBackend
from ..engine.precision import exact
from ..errors import ConfigError, NoCodeError
from ..features import FeatureInfo
from ..fold.triton_layout import PackedConv
from ..inference_only import has_gradient, refuse_gradients
from ..inputs import check_finite, check_input, scale_and_shift, stated_normalization
from ..plan import Plan, build_plan
from ..tracing import refuse_script
from .res2net import Res2NetModel
from .views import Views


class BundledModel(Views, nn.Module):
    """This Res2Net has its weights packed already: inference in one dtype, on one device.

    It has the methods of `Res2NetModel` that compute, and no parameters: it cannot be moved, cast,
    trained or given another head. Made by `create_model("model.r2n")`.
    """

    def __init__(
        self, bundle: Bundle, backends: Sequence[Callable[[], Backend]], fc: PackedConv | None, *,
        target: str | None = None, described: Mapping[str, Any] | None = None,
        features_only: bool = False, out_indices: int | Sequence[int] | None = None,
        check_finite: bool = False,
    ) -> None:  # fmt: skip
        """Take the makers of backends: a pass runs on the first that has a plan for its shape.

        fc: the packed classifier, for `forward_head`. target: whose code the first backend runs;
        None where Triton compiles. described: the pretrained_cfg of weights that are not the
        bundle's, and brought one.
        """
        super().__init__()
        if out_indices is not None and not features_only:
            raise ConfigError("out_indices needs features_only=True")
        self.bundle, self._makers, self._target = bundle, backends, target
        self._backends, self._lock = [backends[0]()], threading.Lock()
        first = self._backends[0]
        self.dtype, self.device = first.dtype, first.device
        self._fc = None if fc is None else fc.changed(lambda t: t.to(first.device))
        cfg = bundle.manifest.pretrained_cfg if described is None else described
        self.pretrained_cfg, self._described = dict(cfg), described is not None
        self._describe(bundle.manifest.config)
        self.features_only = features_only
        self.feature_info = FeatureInfo(self.config, out_indices)
        self.check_finite = check_finite
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self._normalizations: dict[Any, Normalization] = {}
        nn.Module.train(self, False)

    def labels(self) -> tuple[str, ...] | None:
        """Return the names of the classes: the bundle's, or those of weights that brought some."""
        if self._described:
            return labels_for(self.pretrained_cfg, self.num_classes)
        return self.bundle.labels()

    def packed(self) -> Mapping[str, PackedConv]:
        """Return the weights as kernels read them, on the model's device."""
        return cast(KernelBackend, self._backends[0]).weights

    def batches(self, height: int, width: int) -> tuple[int, ...]:
        """Return the batches that the bundle's code takes in a size, the smallest first.

        None of them where the bundle has no code for the size, or all is left to Triton.
        """
        return () if self._target is None else self.bundle.batches(self._target, height, width)

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return what a forward pass does. Raises BundleError for a shape without code."""
        return self._planned(batch, height, width)[1]

    def _planned(self, batch: int, height: int, width: int) -> tuple[Backend, Plan]:
        for place, make in enumerate(self._makers):
            with self._lock:
                if place == len(self._backends):
                    self._backends.append(make())
            try:
                return self._backends[place], self._backends[place].plan(batch, height, width)
            except NoCodeError:
                if place + 1 == len(self._makers):
                    raise
        raise AssertionError("a model has a backend")

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Turn x [N, in_chans, H, W] in the model's dtype into logits [N, num_classes].

        x may also be bytes, uint8 [N, H, W, in_chans]. The embedding [N, num_features] where there
        is no classifier; with features_only the list of feature maps of `out_indices`. Raises
        InputError, and BundleError for a batch or size that the bundle has no code for.
        """
        if self.features_only:
            return self.outputs(x, self.feature_info.out_indices)
        return self.outputs(x, (), ("logits",))[0]

    def outputs(self, x: Tensor, maps: Sequence[int], head: Sequence[str] = ()) -> list[Tensor]:
        """Compute the feature maps of these numbers, then of "embedding" and "logits" these."""
        x = check_input(x, self.in_chans, self.dtype, self.device)
        if self.check_finite and x.dtype != torch.uint8:
            check_finite(x)
        if not len(x):
            height, width = x.shape[2:]
            plan = build_plan(self.config, 0, height, width, self.dtype, "triton")
            names = self._named(plan, maps, head)
            return [x.new_empty(plan.buffers[n].shape, dtype=self.dtype) for n in names]
        backend, plan = self._planned(x.shape[0], *x.shape[2:])
        names, normalization = self._named(plan, maps, head), self._normalization(x)
        data = fitted(x.detach().resolve_neg())
        backend.prepare(plan, data, normalization)
        found = backend.run(plan, data, names, normalization)
        if torch.is_grad_enabled() and has_gradient(x):
            return refuse_gradients([x], found)
        return found

    def _named(self, plan: Plan, maps: Sequence[int], head: Sequence[str]) -> list[str]:
        last = "logits" if self.num_classes else "embedding"
        named = [last if name == "logits" else name for name in head]
        return [*(plan.features[i] for i in maps), *named]

    def _normalization(self, x: Tensor) -> Normalization | None:
        if x.dtype != torch.uint8:
            return None
        stated = stated_normalization(self.pretrained_cfg, self.in_chans)
        if stated not in self._normalizations:  # kept: a copy to a GPU waits for it
            self._normalizations[stated] = scale_and_shift(*stated, self.device)
        return self._normalizations[stated]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Turn [N, num_features, h, w] into logits; the pooled embedding if pre_logits."""
        with exact(self.device, torch.float32):
            pooled = x.float().mean((2, 3))
            if pre_logits or self._fc is None:
                return pooled.to(x.dtype)
            weight = self._fc.weight[: pooled.shape[1]].float()
            logits = pooled @ weight + self._fc.bias.reshape(-1)
            return logits[:, : self.num_classes].to(x.dtype)

    def train(self, mode: bool = True) -> BundledModel:
        """Stay in inference mode."""
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BundledModel:
        probe = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        if (probe.dtype, probe.device) != (self.dtype, self.device):
            raise ConfigError(
                f"{self.bundle} runs in {self.dtype} on {self.device} here, and cannot be made "
                f"{probe.dtype} on {probe.device}: create it there, or build another bundle"
            )
        return self

    def __prepare_scriptable__(self) -> BundledModel:
        return refuse_script(self)

    def __reduce__(self) -> Any:
        raise ConfigError(f"a model of {self.bundle} cannot be copied or pickled: create it again")

    def extra_repr(self) -> str:
        return f"{self.bundle}, backend={self._backends[0].name}, {self.dtype}, {self.device}"


Model = Res2NetModel | BundledModel
