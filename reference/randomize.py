"""Random weights and BatchNorm statistics are seeded: fresh statistics hide folding errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

# A residual branch this quiet keeps the activations of 33 blocks near 1, so that fp16 holds them.
BRANCH_GAIN = 0.3
# whatever the defaults are
PLACE: Mapping[str, Any] = MappingProxyType({"device": "cpu", "dtype": torch.float32})
Model = TypeVar("Model", bound=nn.Module)


def randomize(module: Model, seed: int = 0) -> Model:
    """Fill a Res2Net, ours or timm's, in place, and return it.

    The values depend on the seed and on the state dict's names and shapes only, so two modules
    with the same entries get the same values.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(module.state_dict().items()):
        tensor.copy_(_draw(name, tensor, generator))
    return module


def _draw(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one random value for the state-dict entry `name`: float32, of the entry's shape."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.full(tensor.shape, 7.0, **PLACE)
    if leaf in ("running_mean", "bias"):
        return 0.1 * torch.randn(tensor.shape, generator=generator, **PLACE)
    if tensor.ndim == 1:  # BatchNorm's running_var and weight
        low, high = (0.5, 2.0) if leaf == "running_var" else (0.5, 1.5)
        gain = BRANCH_GAIN if name.endswith("bn3.weight") else 1.0
        return gain * torch.empty(tensor.shape, **PLACE).uniform_(low, high, generator=generator)
    fan_in = tensor[0].numel()
    variance = (2.0 if tensor.ndim == 4 else 1.0) / fan_in  # 2: a ReLU follows a convolution
    return torch.randn(tensor.shape, generator=generator, **PLACE).mul_(variance**0.5)
