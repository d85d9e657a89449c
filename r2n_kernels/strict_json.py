"""JSON of strangers is parsed strictly: what standard JSON has, and nothing that trips later code.

Python's parser takes NaN, turns 1e400 into infinity, reads integers of any length, lone surrogates
that no file can hold, control characters that a terminal obeys, and gives up on deep nesting with
no ValueError.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any, NoReturn, TypeGuard

DEPTH = 32
MOST = 2**63  # integers are smaller: counters and bytes are


def parse(text: str) -> Any:
    """Return what a text of JSON holds. Raises ValueError, in one sentence without a subject."""
    try:
        found = json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_int)
    except RecursionError as error:
        raise ValueError(f"is nested deeper than {DEPTH} levels") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from error
    _check(found)
    return found


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a number; Python counts true and false among them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("holds a number that is too large")
    return value


def _int(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= MOST:
        raise ValueError("holds a number that is too large")
    return int(text)


def _check(found: Any) -> None:
    """Look through a level after the other: recursion would have the limit that is asked for."""
    level, depth = [found], 0
    while level:
        inside: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                inside += [*value, *value.values()]
            elif isinstance(value, list):
                inside += value
            if depth >= DEPTH and isinstance(value, (dict, list)):
                raise ValueError(f"is nested deeper than {DEPTH} levels")
        level, depth = inside, depth + 1


def _check_text(text: str) -> None:
    if not text.isprintable() and any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError(f"holds a control character in {text[:40]!a}")
