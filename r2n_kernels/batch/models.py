"""A model is opened where it runs: on a GPU if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..data import labels_for
from ..errors import ConfigError
from ..model.bundled import BundledModel

if TYPE_CHECKING:
    from ..model.bundled import Model

DTYPES = ("float32", "bfloat16", "float16")


def device_of(device: str | torch.device) -> torch.device:
    """Return the device, of "auto" a GPU if torch finds one. Raises ConfigError if unknown."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got '{device}'") from error


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return the dtype that a name stands for; None stays. Raises ConfigError for another name."""
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got '{dtype}'")
    return getattr(torch, dtype)


def labels_of(model: Model) -> tuple[str, ...] | None:
    """Return the names of the classes, where they are known: a bundle has its own."""
    if isinstance(model, BundledModel):
        return model.labels()
    return labels_for(model.pretrained_cfg, model.num_classes)
