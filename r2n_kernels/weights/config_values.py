"""A stranger's config.json or pretrained_cfg must have values of the right type and a sane size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..text import printable, show

CONFIG_NAME = "config.json"
MAX_DEPTH = 16  # timm's own files nest three deep
_MAX_INT = 2**31 - 1
_MAX_LIST = 16  # stages, channels of an image
_MAX_TEXT = 200
_LISTS = ("input_size", "pool_size", "mean", "std", "test_input_size", "test_pool_size",
          "min_input_size")  # fmt: skip
_STATISTICS = ("mean", "std")
_NUMBERS = ("crop_pct", "test_crop_pct")
_TEXTS = ("interpolation", "crop_mode", "tag", "hf_hub_id", "license")


def wrong(expected: str, value: Any, where: str = CONFIG_NAME) -> ConfigError:
    """Return the error for a value of another kind than expected."""
    return ConfigError(f"{where}: expected {expected}, got {show(value)}")


def is_deep(value: Any) -> bool:
    """Tell whether containers nest more than MAX_DEPTH; not recursive itself."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, Mapping) else v for v in level
                 if isinstance(v, (Mapping, list, tuple)))  # fmt: skip
        level = [child for children in inner for child in children]
        if not level:
            return False
    return True


def integer(key: str, value: Any, where: str = CONFIG_NAME) -> int:
    """Return the value. Raises ConfigError where it is no integer of a sane size."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"an integer '{printable(key)}'", value, where)
    if abs(value) > _MAX_INT:
        raise ConfigError(f"{where}: '{printable(key)}' is out of range: {show(value)}")
    return value


def integers(key: str, value: Any) -> tuple[int, ...]:
    """Return the list as a tuple. Raises ConfigError where it is no short list of integers."""
    if not isinstance(value, (list, tuple)):
        raise wrong(f"a list of integers '{key}'", value)
    return tuple(integer(key, item) for item in _short(key, value, CONFIG_NAME))


def check_description(pretrained: dict[str, Any], where: str = CONFIG_NAME) -> None:
    """Make the lists of a pretrained_cfg tuples; raises ConfigError for a value of another type."""
    for key in (*_LISTS, *_NUMBERS, *_TEXTS):
        value = pretrained.get(key)
        if value is None:
            continue
        if key in _NUMBERS:
            _number(key, value, where)
        elif key in _TEXTS:
            if not isinstance(value, str) or len(value) > _MAX_TEXT:
                raise wrong(f"a short text '{key}'", value, where)
        elif not isinstance(value, (list, tuple)):
            raise wrong(f"a list '{key}'", value, where)
        else:
            check = _number if key in _STATISTICS else integer
            pretrained[key] = tuple(check(key, item, where) for item in _short(key, value, where))
    _check_labels(pretrained.get("label_names"), pretrained.get("label_descriptions"), where)


def _short(key: str, value: Sequence[Any], where: str) -> Sequence[Any]:
    if len(value) > _MAX_LIST:
        raise ConfigError(f"{where}: '{key}' has {len(value)} values: {show(value)}")
    return value


def _number(key: str, value: Any, where: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or abs(value) > _MAX_INT or math.isnan(value):
        raise wrong(f"a number '{key}'", value, where)
    return value


def _check_labels(names: Any, descriptions: Any, where: str) -> None:
    if isinstance(names, Mapping):  # index -> name
        if bad := [key for key in names if not (str(key).isdecimal() and len(str(key)) < 10)]:
            raise wrong("an index in 'label_names'", bad[0], where)
        names = list(names.values())
    if not isinstance(names, (list, tuple, type(None))):
        raise wrong("a list 'label_names'", names, where)
    if bad := [name for name in names or () if not isinstance(name, str)]:
        raise wrong("text in 'label_names'", bad[0], where)
    if not isinstance(descriptions, (Mapping, type(None))):
        raise wrong("an object 'label_descriptions'", descriptions, where)
