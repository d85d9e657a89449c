"""A forward pass runs on the packed weights as far as they go, or module by module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from ..engine.backend import Normalization
from ..engine.precision import exact
from ..inference_only import has_gradient, refuse_gradients
from ..inputs import (
    check_finite,
    check_input,
    normalize,
    scale_and_shift,
    stated_normalization,
)
from ..tracing import tracing, transforming
from .owner import Owner
from .packed import Packed

Names = Sequence[str]


class Passes(Owner):
    """Turn images into feature maps, and into what the head makes of the last one."""

    check_finite: bool
    pretrained_cfg: dict[str, Any]

    def outputs(self, x: Tensor, maps: Sequence[int], head: Names = ()) -> list[Tensor]:
        """Compute in one pass the feature maps of these numbers, then these outputs of the head.

        head: of "embedding" and "logits", as `forward` gives them: the backend's own head makes
        them where it does what the modules would, and the modules elsewhere.
        """
        if takes_modules(x):
            found, left = self._unfused(x, [*maps, *([-1] if head else [])]), head
        else:
            found, left = self._current(lambda packed: self._furthest(packed, x, maps, head))
        if left:  # behind `_current`, which may compute twice: a module may count its calls
            last = found.pop()
            found += [self.forward_head(last, pre_logits=name == "embedding") for name in left]
        return found

    def _furthest(
        self, packed: Packed, x: Tensor, maps: Sequence[int], head: Names
    ) -> tuple[list[Tensor], Names]:
        """Return outputs, and those of the head that its modules must make of the last of them."""
        x = check_input(x, packed.in_chans, self.dtype, self.device)
        if self.check_finite and x.dtype != torch.uint8:
            check_finite(x)
        fused, has_head = self._reach(packed)
        normalization = self._normalization(packed, x)
        if fused and has_head:
            names = [packed.output if name == "logits" else name for name in head]
            return self._folded(packed, x, normalization, maps, names), ()
        maps = [*maps, -1] if head else maps
        if fused:
            return self._folded(packed, x, normalization, maps), head
        if normalization is not None:
            x = normalize(x, normalization, self.dtype)
        return self._unfused(x, maps), head

    def _folded(
        self, packed: Packed, x: Tensor, normalization: Normalization | None,
        maps: Sequence[int], head: Names = (),
    ) -> list[Tensor]:  # fmt: skip
        """Return the backend's feature maps and outputs of its head, for x [N, C, H, W]."""
        backend = packed.backend
        plan = backend.plan(x.shape[0], *x.shape[2:])
        names, data = [*(plan.features[i] for i in maps), *head], x.detach()
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

    def _unfused(self, x: Tensor | Proxy, maps: Sequence[int]) -> list[Tensor]:
        """Compute feature maps module by module, in the dtype of the modules."""
        if isinstance(x, Proxy):  # who traces symbols takes the modules apart by name
            found = self.feature_maps(cast(Tensor, x))
            return [found[i] for i in maps]
        first = next(self.parameters(), x)
        with exact(self.device, torch.float32):
            found = self.feature_maps(x.to(first.dtype))
        return [found[i].to(self.dtype) for i in maps]

    def _normalization(self, packed: Packed, x: Tensor) -> Normalization | None:
        """Return scale and shift where x [N, C, H, W] holds bytes."""
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
    """Return whether only plain modules can run x: torch.fx's symbols, torch.func's tensors."""
    return isinstance(x, Proxy) or (not tracing() and transforming())


def in_its_dtype(head: nn.Module, x: Tensor | Proxy) -> Any:
    """Run a module of the head in the dtype of its parameters, on x in another one."""
    if isinstance(x, Proxy):
        return head(x)
    first = next(head.parameters(), x)
    y = head(x.to(first.dtype))
    return y.to(x.dtype) if first.dtype != x.dtype and isinstance(y, Tensor) else y
