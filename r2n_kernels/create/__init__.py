"""Models are made here: by name, from a checkpoint, or from a live timm module."""

from .architecture import architecture_of
from .factory import create_model, from_timm
from .registry import is_model, is_model_pretrained, list_models, list_pretrained
from .saving import save_folder

__all__ = [
    "architecture_of",
    "create_model",
    "from_timm",
    "is_model",
    "is_model_pretrained",
    "list_models",
    "list_pretrained",
    "save_folder",
]
