"""Res2Net inference: folded, fused, held to timm's outputs.

import r2n_kernels
model = r2n_kernels.create_model("res2net101_26w_4s.in1k", pretrained=True)
logits = model(images)  # [N, 3, H, W] -> [N, 1000]
"""

from . import data
from .config import Res2NetConfig
from .create import (
    create_model,
    from_timm,
    is_model,
    is_model_pretrained,
    list_models,
    list_pretrained,
)
from .engine import TritonOptions
from .errors import (
    ConfigError,
    HubError,
    ImageError,
    InferenceOnlyError,
    InputError,
    KernelError,
    R2NError,
    RecordError,
    UnknownModelError,
    WeightsError,
)
from .model import Res2NetModel
from .tile_table import load_tiles
from .version import __version__

__all__ = [
    "ConfigError",
    "HubError",
    "ImageError",
    "InferenceOnlyError",
    "InputError",
    "KernelError",
    "R2NError",
    "RecordError",
    "Res2NetConfig",
    "Res2NetModel",
    "TritonOptions",
    "UnknownModelError",
    "WeightsError",
    "__version__",
    "create_model",
    "data",
    "from_timm",
    "is_model",
    "is_model_pretrained",
    "list_models",
    "list_pretrained",
    "load_tiles",
]
