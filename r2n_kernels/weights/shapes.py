"""What a state dict of a configuration must hold."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Size

from ..config import Res2NetConfig
from ..reference import Res2Net


@lru_cache(maxsize=4)  # loading asks three times, and building takes a tenth of a second
def meta_network(config: Res2NetConfig) -> Res2Net:
    """The reference without storage: names, shapes and hyper-parameters only. Not to be changed."""
    return Res2Net(config, device="meta", dtype=torch.float32)


def expected_shapes(config: Res2NetConfig) -> dict[str, Size]:
    """Name -> shape of every parameter and buffer, in the reference's order."""
    return {name: tensor.shape for name, tensor in meta_network(config).state_dict().items()}


def is_counter(name: str) -> bool:
    """BatchNorm's count of training steps: unused in inference, absent from old checkpoints."""
    return name.endswith(".num_batches_tracked")


def format_shape(shape: Size | tuple[int, ...]) -> str:
    return str(tuple(shape))
