"""Values of a stranger's config.json or pretrained_cfg: of the right type and of a sane size."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..text import printable

CONFIG = "config.json"
MAX_DEPTH = 16  # timm's own files nest three deep
_MAX_INT = 2**31 - 1
_MAX_LIST = 16  # stages, channels of an image
_MAX_TEXT = 200
_MAX_CONVS = 1500  # 198 in the largest of timm; a network of 1500 takes a second to make
_MAX_PARAMETERS = 1_000_000_000  # 45 million in the largest published
_LISTS = ("input_size", "pool_size", "mean", "std", "test_input_size", "test_pool_size",
          "min_input_size")  # fmt: skip
_STATISTICS = ("mean", "std")
_NUMBERS = ("crop_pct", "test_crop_pct")
_TEXTS = ("interpolation", "crop_mode", "tag", "hf_hub_id", "license")


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring, self.maxother, self.maxlevel = 80, 80, 3

    def repr_int(self, x: int, _level: int) -> str:
        # Python refuses to write out the longest, and nobody reads the long.
        return repr(x) if abs(x) < 10**20 else f"an integer of {x.bit_length()} bits"


def show(value: Any) -> str:
    """The value in a few words on one line."""
    return printable(_Brief().repr(value))


def is_deep(value: Any) -> bool:
    """Whether containers nest more than MAX_DEPTH; not recursive itself."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, Mapping) else v for v in level
                 if isinstance(v, (Mapping, list, tuple)))  # fmt: skip
        level = [child for children in inner for child in children]
        if not level:
            return False
    return True


def integer(key: str, value: Any, where: str = CONFIG) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{where}: expected an integer '{printable(key)}', got {show(value)}")
    if abs(value) > _MAX_INT:
        raise ConfigError(f"{where}: '{printable(key)}' is out of range: {show(value)}")
    return value


def integers(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{CONFIG}: expected a list of integers '{key}', got {show(value)}")
    return tuple(integer(key, item) for item in _short(key, value, CONFIG))


def check_description(pretrained: dict[str, Any], where: str = CONFIG) -> None:
    """Make the lists of a pretrained_cfg tuples; raises ConfigError for a value of another type."""
    for key in (key for key in _LISTS if pretrained.get(key) is not None):
        value = pretrained[key]
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list '{key}', got {show(value)}")
        check = _number if key in _STATISTICS else integer
        pretrained[key] = tuple(check(key, item, where) for item in _short(key, value, where))
    for key in (key for key in _NUMBERS if pretrained.get(key) is not None):
        _number(key, pretrained[key], where)
    for key in (key for key in _TEXTS if pretrained.get(key) is not None):
        if not isinstance(pretrained[key], str) or len(pretrained[key]) > _MAX_TEXT:
            raise ConfigError(
                f"{where}: expected a short text '{key}', got {show(pretrained[key])}"
            )
    _check_labels(pretrained.get("label_names"), pretrained.get("label_descriptions"), where)


def check_buildable(config: Res2NetConfig, where: str) -> None:
    """Raises ConfigError for a network that nobody means: it would take minutes, or all memory."""
    convs = sum(config.layers) * (config.num_convs + 3)
    if convs > _MAX_CONVS:
        raise ConfigError(
            f"{where}: layers {show(list(config.layers))} at scale {config.scale} make {convs} "
            f"convolutions, expected {_MAX_CONVS} at most"
        )
    if config.parameters > _MAX_PARAMETERS:
        raise ConfigError(
            f"{where}: the network would have {config.parameters} parameters, expected "
            f"{_MAX_PARAMETERS} at most"
        )


def _short(key: str, value: Sequence[Any], where: str) -> Sequence[Any]:
    if len(value) > _MAX_LIST:
        raise ConfigError(f"{where}: '{key}' has {len(value)} values: {show(value)}")
    return value


def _number(key: str, value: Any, where: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or abs(value) > _MAX_INT or math.isnan(value):
        raise ConfigError(f"{where}: expected a number '{key}', got {show(value)}")
    return value


def _check_labels(names: Any, descriptions: Any, where: str) -> None:
    if isinstance(names, Mapping):  # index -> name
        if bad := [key for key in names if not (str(key).isdecimal() and len(str(key)) < 10)]:
            raise ConfigError(f"{where}: expected an index in 'label_names', got {show(bad[0])}")
        names = list(names.values())
    if not isinstance(names, (list, tuple, type(None))):
        raise ConfigError(f"{where}: expected a list 'label_names', got {show(names)}")
    if bad := [name for name in names or () if not isinstance(name, str)]:
        raise ConfigError(f"{where}: expected text in 'label_names', got {show(bad[0])}")
    if not isinstance(descriptions, (Mapping, type(None))):
        raise ConfigError(
            f"{where}: expected an object 'label_descriptions', got {show(descriptions)}"
        )
