"""One forward pass: on the packed weights as far as they go, or module by module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ..engine.precision import exact
from ..inference_only import has_gradient, refuse_gradients
from ..inputs import (
    check_finite,
    check_input,
    normalize,
    scale_and_shift,
    stated_normalization,
)
from ..plan import Plan
from ..tracing import tracing, transforming
from .owner import Owner
from .packed import Packed


class Passes(Owner):
    """Images to feature maps, and to what the backend's own head makes of them."""

    check_finite: bool
    pretrained_cfg: dict[str, Any]

    def _maps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Feature maps of these numbers."""
        if takes_modules(x):
            return self._unfused(x, indices)

        return self._current(
            lambda packed: self._maps_of(packed, self._checked(packed, x), indices)
        )

    def _maps_of(self, packed: Packed, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        if self._why_unfused(packed):
            return self._unfused(self._floats(packed, x), indices)
        return self._folded(packed, x, lambda plan: [plan.features[i] for i in indices])

    def _furthest(self, x: Tensor) -> tuple[bool, Tensor]:
        """Whether the backend's head was run, and its output; or the last feature map."""
        if takes_modules(x):
            return False, self._unfused(x, [-1])[0]

        def compute(packed: Packed) -> tuple[bool, Tensor]:
            checked = self._checked(packed, x)
            if self._runs_head(packed) and not self._why_unfused(packed):
                return True, self._folded(packed, checked, lambda plan: [packed.output])[0]
            return False, self._maps_of(packed, checked, [-1])[0]

        return self._current(compute)

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
        if not tracing():
            data = data.resolve_neg()  # kernels read memory
        backend.prepare(plan, data, normalization)
        outputs = backend.run(plan, data, names, normalization)
        if tracing() or not torch.is_grad_enabled():
            return outputs
        sources = [p for p in packed.trunk_parameters if p.requires_grad]
        if not (sources or has_gradient(x)):
            return outputs
        return refuse_gradients([x, *sources], outputs)

    def _unfused(self, x: Tensor | Proxy, indices: Sequence[int]) -> list[Tensor]:
        """Feature maps, module by module, in the dtype of the modules."""
        if isinstance(x, Proxy):  # who traces symbols takes the modules apart by name
            maps = self.feature_maps(x)
            return [maps[i] for i in indices]
        first = next(self.parameters(), x)
        with exact(self.device, torch.float32):
            maps = self.feature_maps(x.to(first.dtype))
        return [maps[i].to(self.dtype) for i in indices]

    def _floats(self, packed: Packed, x: Tensor) -> Tensor:
        """Bytes normalised."""
        normalization = self._normalization(packed, x)
        return x if normalization is None else normalize(x, normalization, self.dtype)

    def _normalization(self, packed: Packed, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Scale and shift where x [N, C, H, W] holds bytes."""
        if x.dtype != torch.uint8:
            return None
        channels = x.shape[1] if packed.in_chans is None else packed.in_chans
        stated = stated_normalization(self.pretrained_cfg, channels)
        if tracing():  # a graph holds its own
            return scale_and_shift(*stated, self.device)
        if stated not in self._normalizations:  # kept: a copy to a GPU waits for it
            self._normalizations[stated] = scale_and_shift(*stated, self.device)
        return self._normalizations[stated]


def takes_modules(x: Tensor | Proxy) -> bool:
    """Whether only plain modules can be run on x: symbols of torch.fx, tensors of torch.func."""
    return isinstance(x, Proxy) or (not tracing() and transforming())


def in_its_dtype(head: nn.Module, x: Tensor | Proxy) -> Any:
    """What a module of the head gives, in the dtype of its parameters, of x in another one."""
    if isinstance(x, Proxy):
        return head(x)
    first = next(head.parameters(), x)
    y = head(x.to(first.dtype))
    return y.to(x.dtype) if first.dtype != x.dtype and isinstance(y, Tensor) else y
