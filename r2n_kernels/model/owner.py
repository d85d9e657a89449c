"""A model obeys as a module: it loads, moves, is copied, and what surrounds it trains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from ..config import Res2NetConfig
from ..errors import ConfigError, InferenceOnlyError, WeightsError
from ..inference_only import ADVICE
from ..reference import GlobalPool
from ..weights import HEAD, expected_shapes, faults_of_trunk, load_weights
from .folded import CANONICAL, FoldedRes2Net
from .packed import with_its_stem

logger = logging.getLogger("r2n_kernels.engine")


class Owner(FoldedRes2Net):
    """The modules have the weights, whatever is done to them, and there are no others."""

    def _replace_head(self, config: Res2NetConfig) -> None:
        """Put a fresh head in, drawn on the CPU."""
        with torch.inference_mode(False):
            self.global_pool, self.fc = GlobalPool(config.global_pool), nn.Identity()
            if config.num_classes:
                fc = nn.Linear(config.pooled_features, config.num_classes, **CANONICAL)
                self.fc = fc.to(self.device).requires_grad_(False)
        packed = self._packed
        if packed is None or packed.faults:
            return
        if self.frozen or packed.backend.own_kernels:  # PyTorch's head is as quick in its modules
            self.refold()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Drop what is packed when a wrapper loads; compiled graphs, too, then see the news."""
        self._packed = None
        super()._load_from_state_dict(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Replace the weights and fold anew. Raises WeightsError, and then nothing is replaced.

        strict=False leaves weights that `state_dict` lacks as they are, and names them in what it
        returns. `assign` makes no difference: the parameters are copies in float32. A model whose
        modules were replaced loads as PyTorch's modules do.
        """
        classes = getattr(self.fc, "out_features", 0)
        config = with_its_stem(self, self.config.replace(num_classes=classes))
        own = self.state_dict()
        is_canonical = own.keys() == expected_shapes(config).keys()
        if not is_canonical or faults_of_trunk(self, config):
            return super().load_state_dict(state_dict, strict, assign)
        missing, unexpected = [], []
        if not strict:
            missing = [name for name in own if name not in state_dict]
            unexpected = [name for name in state_dict if name not in own]
            state_dict = own | {k: v for k, v in state_dict.items() if k in own}
        weights = load_weights(dict(state_dict), config).state
        before = {name: tensor.clone() for name, tensor in own.items()}
        with self._lock:  # nobody packs half of them
            self._loads += 1
            try:
                super().load_state_dict(weights)
                self.refold()
            except WeightsError:
                super().load_state_dict(before)
                raise
            finally:
                self._loads += 1
        return _IncompatibleKeys(missing, unexpected)

    def train(self, mode: bool = True) -> Owner:
        """Stay in inference mode, also within a network that trains; a replaced head obeys."""
        if mode:
            logger.info("train() was called, and the Res2Net stays in inference mode. %s", ADVICE)
        for name, child in self.named_children():
            has_mode = name in HEAD and type(child) not in (GlobalPool, nn.Linear, nn.Identity)
            child.train(mode and has_mode)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Owner:
        if requires_grad:
            raise InferenceOnlyError(f"requires_grad_() was called. {ADVICE}")
        return super().requires_grad_(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Owner:
        """Move parameters, as `.to`, `.cuda` and `.half` do, and keep their dtype."""
        probe = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        dtype, device = probe.dtype, probe.device
        changed, packed = (dtype, device) != (self.dtype, self.device), None
        if changed and "meta" not in (device.type, self.device.type):
            packed = self._pack(dtype, device)  # raises before anything changed

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(device)

        with self._lock:
            super()._apply(move, recurse)
            if changed:
                self.dtype, self.device = dtype, device
                self._normalizations.clear()
                if packed is not None:
                    packed.watch(self)
                self._packed = packed
        return self

    def _replicate_for_data_parallel(self) -> Owner:
        raise ConfigError(
            "nn.DataParallel on several GPUs copies a model for each call, unpacked; run a model a "
            "GPU instead, in threads or in processes"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made of the parameters: it is tied to this machine."""
        made = ("_packed", "_captured", "_normalizations", "_told", "_lock", "_loads", "_mapped")
        return {k: v for k, v in self.__dict__.items() if k not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._start()
        parameters = list(self.parameters())
        self.device = parameters[0].device if parameters else self.device  # of `map_location`
        if self.low_memory or any(p.is_inference() for p in parameters):
            self._take_over(nn.Module.state_dict(self))
