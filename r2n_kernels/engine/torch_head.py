"""PyTorch computes the network's head bit for bit as its modules do, behind any trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import Res2NetConfig
from ..plan import Step

POOL, LINEAR = "global_pool", "linear"


class Pass(NamedTuple):
    """A Pass is the steps of the trunk, those of the head, and what the trunk must give."""

    trunk: tuple[Step, ...]
    head: tuple[Step, ...]
    maps: tuple[str, ...]  # buffers, each once

    @classmethod
    def of(cls, steps: Sequence[Step], wanted: Sequence[str]) -> Pass:
        head = tuple(step for step in steps if step.op in (POOL, LINEAR))
        made = {name for step in head for name in step.writes}
        read = [name for step in head for name in step.reads]
        maps = tuple(name for name in dict.fromkeys([*wanted, *read]) if name not in made)
        return cls(tuple(steps[: len(steps) - len(head)]), head, maps)


class TorchHead:
    """A TorchHead has the classifier's weight and bias, which are its module's memory."""

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], device: torch.device
    ) -> None:
        parts = ("fc.weight", "fc.bias") if config.num_classes else ()
        self.classifier = [state[part].to(device) for part in parts]

    def run(self, head: Sequence[Step], maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the maps, and what the steps of the head make of them."""
        live = dict(maps)
        for step in head:
            live[step.writes[0]] = self._step(step, live[step.reads[0]])
        return live

    def _step(self, step: Step, x: Tensor) -> Tensor:
        """Compute a step as its module does, in the module's dtype."""
        if step.op == POOL:
            return x.mean(dim=(2, 3))
        weight, bias = self.classifier
        return F.linear(x.to(weight.dtype), weight, bias).to(x.dtype)
