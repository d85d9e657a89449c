"""Files as strangers send them: seeded mutations of a good one, of its JSON and of its bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

DEEP = "[" * 100_000
NASTY = (
    None, True, False, 0, -1, 1, 10**400, -(10**30), 2**63, 1e308, 5e-324, -0.0, "", "x",
    "\x1b[31m", "\ud800", "\u202e", "a\nb", "\x00", "NaN", [], {}, [[]], [[None]], {"": {}},
    [1, "a", None], float("nan"), float("inf"), "9" * 5000, {"flops": "x"}, {"passed": 1},
    [[1e308, 1e308]], [[5e-324]],
)  # fmt: skip


def mutations(text: str, count: int, seed: int) -> Iterator[bytes]:
    """Yield so many; `text` is one document of JSON."""
    chance = random.Random(seed)
    for i in range(count):
        yield _of_bytes(text, chance) if i % 3 == 2 else _of_json(text, chance)


def _of_json(text: str, chance: random.Random) -> bytes:
    """Exchange, remove or copy a value anywhere inside."""
    found = json.loads(text)
    holders = list(_holders(found))
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        holder, place = chance.choice(holders)
        other = chance.choice(holders)
        value = chance.choice((*NASTY, "deep", "copy"))
        try:
            if chance.random() < 0.1:
                del holder[place]
            elif value == "copy":
                holder[place] = json.loads(json.dumps(other[0][other[1]]))
            else:
                holder[place] = value
        except (IndexError, KeyError):  # an earlier exchange removed it
            continue
    dumped = json.dumps(found)
    return dumped.replace('"deep"', DEEP, 1).encode()


def _holders(found: Any) -> Iterator[tuple[Any, Any]]:
    for place in list(found) if isinstance(found, dict) else range(len(found)):
        yield found, place
        if isinstance(found[place], (dict, list)):
            yield from _holders(found[place])


def _of_bytes(text: str, chance: random.Random) -> bytes:
    """Exchange, remove, insert or repeat some bytes; or break off."""
    found = bytearray(text.encode())
    for _ in range(chance.choice((1, 2, 8))):
        at = chance.randrange(len(found) + 1)
        way = chance.randrange(5)
        if way == 0:
            found[at:] = b""
        elif way == 1:
            found[at : at + chance.randrange(1, 9)] = b""
        elif way == 2:
            found[at:at] = bytes([chance.randrange(256)])
        elif way == 3:
            found[at:at] = chance.choice((b"{", b"]", b'"', b"1e999", b"NaN", b"\\ud800", b"\n"))
        else:
            found[at:at] = found[at : at + 40]
    return bytes(found)
