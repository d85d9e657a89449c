"""This file names the classes that a classifier's outputs stand for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import ConfigError

ASSET = "assets/imagenet_labels.txt"  # 1000 lines: WordNet synset, tab, names


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Return the 1000 classes of ImageNet-1k in index order, e.g. "tench, Tinca tinca".

    Two classes may share a name ("crane"); their index tells them apart.
    """
    return tuple(name for _, name in _imagenet())


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return their WordNet synsets, as ImageNet's folders are named, e.g. "n01440764"."""
    return tuple(synset for synset, _ in _imagenet())


def _imagenet() -> list[list[str]]:
    text = files(__package__.partition(".")[0]).joinpath(ASSET).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


def labels_for(
    pretrained_cfg: Mapping[str, Any] | None, num_classes: int | None = None
) -> tuple[str, ...] | None:
    """Return a label for each class of a model, in index order, or None where they are not known.

    `pretrained_cfg` is a model's, with timm's keys: label_names (a list, or a dict index -> name),
    with label_descriptions (name -> description) shown instead of the names if it has them; the
    1000 classes of an `in1k` tag are ImageNet's. `num_classes` is that of the model at hand: if it
    is not the configuration's, the classifier was replaced and the labels are not known.

    Raises ConfigError if label_names does not fit the configuration's own num_classes.
    """
    cfg = pretrained_cfg or {}
    count = cfg.get("num_classes")
    if num_classes is not None and count is not None and num_classes != count:
        return None
    count = num_classes if count is None else count
    if cfg.get("label_names"):
        return _named(cfg["label_names"], cfg.get("label_descriptions") or {}, count)
    return imagenet_labels() if is_imagenet(cfg, count) else None


def is_imagenet(pretrained_cfg: Mapping[str, Any], num_classes: int | None) -> bool:
    """Tell whether a model's classes are those of ImageNet-1k, by its tag."""
    return num_classes == len(imagenet_labels()) and _tag(pretrained_cfg).endswith("in1k")


def _named(names: Any, descriptions: Mapping[str, str], count: int | None) -> tuple[str, ...]:
    if isinstance(names, Mapping):
        # JSON turns the indices into strings; timm allows gaps.
        by_index = {int(index): name for index, name in names.items()}
    else:
        by_index = dict(enumerate(names))
    if count is None:
        count = max(by_index) + 1
    fits = min(by_index) >= 0 and max(by_index) < count
    if not fits or (len(by_index) != count and not isinstance(names, Mapping)):
        raise ConfigError(f"label_names has {len(names)} labels for {count} classes")
    found = (by_index.get(index, f"class {index}") for index in range(count))
    return tuple(str(descriptions.get(name, name)) for name in found)


def _tag(cfg: Mapping[str, Any]) -> str:
    """Return what follows the dot of `res2net50_26w_4s.in1k`, wherever the configuration has it."""
    if cfg.get("tag"):
        return cfg["tag"]
    name = cfg.get("hf_hub_id") or cfg.get("architecture") or ""
    return name.partition(".")[2]
