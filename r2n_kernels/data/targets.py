"""A labelled set names the class of each image; this file finds its index in the model."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..text import listed, printable
from .class_map import ClassMap
from .labels import imagenet_labels, imagenet_synsets, is_imagenet, labels_for

Target = Callable[[int | str], int]  # the label of an image -> its class's index; or ConfigError
NUMBERS = "; a table's numbers as they are, because it knows none of their names"


def target_of(
    pretrained_cfg: Mapping[str, Any],
    num_classes: int,
    class_map: ClassMap | None = None,
    folders: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[Lookup, str]:
    """Return what turns labels into indices, and how, for people.

    An integer is an index already. A name has the index that the class map gives it; without one,
    that of the model's own label names, or of ImageNet's synsets (n01440764); and where the model
    says none, its place in the sorted `folders`: all class names of the set, None where they are
    not known beforehand. `classes` are a table's names of its integers: where the model knows any
    of them, integers are taken for their names.

    Raises ConfigError that names the folders that are no class; where nothing says what names mean;
    and where torchvision and timm, which sort "10" before and behind "9", would disagree.
    """
    if class_map is not None:
        class_map.labels(num_classes)
        known, how = class_map.indices, class_map.where
    elif named := model_names(pretrained_cfg, num_classes):
        known, how = named, "the model's label names"
    elif folders is not None:
        known, how = _sorted(folders, num_classes), "the sorted names of the folders"
    else:
        known, how = {}, "the model, which does not say their names: --class-map does"
    if classes is not None and not any(name in known for name in classes):
        how, classes = how + NUMBERS, None
    shown = labels_for(pretrained_cfg, num_classes) or ()
    target = Lookup(known, num_classes, how, classes, shown)
    if unknown := [printable(name) for name in folders or () if name not in known]:
        raise ConfigError(
            f"no class of {how}: {listed(unknown)}; --class-map says which index a folder has"
        )
    return target, how


def model_names(pretrained_cfg: Mapping[str, Any], num_classes: int) -> dict[str, int]:
    """Return name -> index of the model's classes: names, and descriptions where they are unique.

    Empty where the model's configuration says nothing of them.
    """
    names = pretrained_cfg.get("label_names")
    stated = pretrained_cfg.get("num_classes", num_classes)
    if stated != num_classes:
        return {}
    if not names:
        if not is_imagenet(pretrained_cfg, num_classes):
            return {}
        times = Counter(imagenet_labels())
        labels = {name: i for i, name in enumerate(imagenet_labels()) if times[name] == 1}
        return labels | {synset: i for i, synset in enumerate(imagenet_synsets())}
    entries = names.items() if isinstance(names, Mapping) else enumerate(names)
    found = {name: int(index) for index, name in entries}
    described = pretrained_cfg.get("label_descriptions") or {}
    texts = [described.get(name, name) for name in found]
    unique = {text for text, times in Counter(texts).items() if times == 1}
    aliases = dict(zip(texts, found.values(), strict=True))
    return {text: index for text, index in aliases.items() if text in unique} | found


class Lookup:
    """A lookup is a target that raises ConfigError for what is no class."""

    def __init__(
        self, known: Mapping[str, int], num_classes: int, how: str,
        classes: Sequence[str] | None, shown: Sequence[str],
    ) -> None:  # fmt: skip
        """shown: names of the model's classes, of which some may be alike ("crane")."""
        self.known, self.num_classes, self.how = known, num_classes, how
        self.classes, self.shown = classes, shown

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what labels mean."""
        told = [self.how, sorted(self.known.items()), list(self.classes or ())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def __call__(self, label: int | str) -> int:
        if self.classes is not None and isinstance(label, int) and 0 <= label < len(self.classes):
            number, label = label, self.classes[label]
            if label not in self.known and [label] == list(self.shown[number : number + 1]):
                return number  # one of two classes of this name, and both say which
        if isinstance(label, str):
            if label not in self.known:
                raise ConfigError(f"label '{printable(label)}' is no class of {self.how}")
            return self.known[label]
        if not 0 <= label < self.num_classes:
            raise ConfigError(f"label {label} is no class: they are 0 to {self.num_classes - 1}")
        return label


def _sorted(folders: Sequence[str], num_classes: int) -> dict[str, int]:
    names = sorted(set(folders))
    if len(names) != num_classes:
        raise ConfigError(
            f"{len(names)} class folders ({listed(list(map(printable, names)), 3)}) for a model of "
            f"{num_classes} classes that does not say their names: --class-map does"
        )
    if names != sorted(names, key=_natural):
        raise ConfigError(
            f"torchvision and timm sort these folders differently ({listed(names, 3)}), so that "
            "their order does not say which class has which index: --class-map does"
        )
    return {name: index for index, name in enumerate(names)}


def _natural(name: str) -> list[Any]:
    """Return a key that sorts runs of digits as numbers, as timm does."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.lower())]
