"""A class map is a file that says which class has which index."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..text import printable, show

_MAX_FILE = 1 << 26  # bytes
_PAIR = re.compile(r"(.*\S)\s+(\d{1,9})")  # a name and an index


@dataclass(frozen=True)
class ClassMap:
    """A ClassMap has the index of each class name; names may share one."""

    indices: Mapping[str, int]
    where: str  # the file, for people

    def labels(self, num_classes: int) -> tuple[str, ...]:
        """Return a name for each class of a model, in index order, the first of those that share.

        A class without a name is "class 7". Raises ConfigError for an index that the model lacks.
        """
        names: dict[int, str] = {}
        for name, index in self.indices.items():
            if index >= num_classes:
                raise ConfigError(
                    f"{self.where}: class '{printable(name)}' has index {index}, the model's "
                    f"{num_classes} classes have 0 to {num_classes - 1}"
                )
            names.setdefault(index, name)
        return tuple(names.get(index, f"class {index}") for index in range(num_classes))


def read_class_map(path: str | os.PathLike) -> ClassMap:
    """Read a class map: a name per line, in index order (timm's); or a name and an index per line.

    A file `.json` holds a list of names, an object name -> index, or index -> name. Raises
    ConfigError that names the file, and the line or entry, for anything else.
    """
    where = printable(path)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"class map {where}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"class map {where}: not text in UTF-8") from error
    if len(content) > _MAX_FILE:
        raise ConfigError(f"class map {where}: larger than {_MAX_FILE} bytes")
    is_json = Path(path).suffix.lower() == ".json"
    indices = (_of_json if is_json else _of_lines)(text, f"class map {where}")
    if not indices:
        raise ConfigError(f"class map {where}: it has no class")
    return ClassMap(indices, f"class map {where}")


def _of_lines(text: str, where: str) -> dict[str, int]:
    lines = text.rstrip().splitlines()
    pairs = [_PAIR.fullmatch(line.strip()) for line in lines]
    if all(pairs) and len({match[2] for match in pairs if match}) > 1:
        found = [(match[1], int(match[2])) for match in pairs if match]
    else:
        found = [(line.strip(), index) for index, line in enumerate(lines)]
    for number, (name, _) in enumerate(found, 1):
        if not name:  # timm counts it as a class, which shifts all that follow
            raise ConfigError(f"{where}: line {number} is empty")
    return _once(found, where)


def _of_json(text: str, where: str) -> dict[str, int]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {error}") from error
    if isinstance(content, list):
        return _once(((_name(entry, where), index) for index, entry in enumerate(content)), where)
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a list or an object, found {show(content)}")
    if all(isinstance(value, str) for value in content.values()):
        return _once(((name, _index(key, where)) for key, name in content.items()), where)
    return _once(((name, _index(value, where)) for name, value in content.items()), where)


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: expected the name of a class, found {show(value)}")
    return value


def _index(value: Any, where: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise ConfigError(f"{where}: expected the index of a class, found {show(value)}")
    return value


def _once(pairs: Iterable[tuple[str, int]], where: str) -> dict[str, int]:
    """Return name -> index. Raises ConfigError for a name that has two."""
    found: dict[str, int] = {}
    for name, index in pairs:
        if found.setdefault(name, index) != index:
            raise ConfigError(
                f"{where}: class '{printable(name)}' has two indices, {found[name]} and {index}"
            )
    return found
