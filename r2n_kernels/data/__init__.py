"""This room turns files into tensors: timm's preprocessing, reading, batching, class labels."""

from ..decode import read_image
from ..sources import find_images
from .class_map import ClassMap, read_class_map
from .config import resolve_data_config, resolve_model_data_config
from .labels import imagenet_labels, labels_for
from .pipeline import Batch, ImageBatches, Item, Spent
from .targets import target_of
from .transform import EvalTransform, create_transform

__all__ = [
    "Batch",
    "ClassMap",
    "EvalTransform",
    "ImageBatches",
    "Item",
    "Spent",
    "create_transform",
    "find_images",
    "imagenet_labels",
    "labels_for",
    "read_class_map",
    "read_image",
    "resolve_data_config",
    "resolve_model_data_config",
    "target_of",
]
