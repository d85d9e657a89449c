"""This package runs Res2Net inference: folded, fused, held to timm's outputs.

import r2n_kernels
model = r2n_kernels.create_model("res2net101_26w_4s.in1k", pretrained=True)
logits = model(images)  # [N, 3, H, W] -> [N, 1000]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import Res2NetConfig
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
from .version import __version__

if TYPE_CHECKING:
    from . import data
    from .create import (
        create_model,
        from_timm,
        is_model,
        is_model_pretrained,
        list_models,
        list_pretrained,
    )
    from .engine import TritonOptions
    from .model import Res2NetModel
    from .tile_table import load_tiles

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

# The module of each name that needs torch, which takes a second to import: it loads at first use,
# so that `r2n --version` does not wait for it.
_HOMES = {
    "Res2NetModel": "model",
    "TritonOptions": "engine",
    "load_tiles": "tile_table",
    **dict.fromkeys(
        ("create_model", "from_timm", "is_model", "is_model_pretrained", "list_models",
         "list_pretrained"), "create",
    ),
}  # fmt: skip
_MODULES = {"data", *_HOMES.values()}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
