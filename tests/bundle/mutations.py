"""Mutations of a bundle: of its bytes, and of what it says, with every hash made right again."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r2n_kernels.bundle import Bundle, file
from r2n_kernels.bundle.file import packed_text

DEEP = json.loads("[" * 300 + "]" * 300)
ABSURD = (-1, 0, 1, 2**31, 2**63, 2**70, -(2**70), 10**400, 1.5, 1e308, float("nan"),
          float("inf"), True, False, None, "", "x", "\ud800", "\0", "x" * 10_000, [], {}, [[]], [0], {"x": 0},
          {"tile": [0] * 6}, {"layout": [1] * 6}, ["input", 0, 2**62], ["x", -1, 1],
          DEEP)  # fmt: skip

ODD: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda t: t[:0], lambda t: t[:1], lambda t: t[1:], lambda t: t.flatten(), lambda t: t.bool(),
    lambda t: t.float(), lambda t: t.half(), lambda t: t.unsqueeze(0).expand(3, *t.shape),
    lambda t: torch.zeros(()), lambda t: packed_text("[" * 3000), lambda t: packed_text("null"),
    lambda t: packed_text("\0" * 2**26),
)  # fmt: skip


def bytes_of(original: bytes, chance: random.Random) -> bytes:
    """Flip, cut or insert bytes; as often in the header as in the parts."""
    size = int.from_bytes(original[:8], "little") + 8
    place = chance.randrange(chance.choice((8, size, len(original))))
    count = chance.choice((1, 1, 2, 7, 100))
    kind = chance.choice(("flip", "cut", "insert", "end", "swap"))
    start, end = original[:place], original[place:]
    if kind == "flip":
        return start + bytes(b ^ chance.randrange(1, 256) for b in end[:count]) + end[count:]
    if kind == "cut":
        return start + end[count:]
    if kind == "insert":
        return start + chance.randbytes(count) + end
    if kind == "swap":
        return start + end[count:] + end[:count]
    return start


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


def changed(data: Any, chance: random.Random) -> str:
    """Change one value of JSON in place, and say which."""
    every = list(places(data))
    depth = chance.randrange(1, 1 + max(map(len, every)))  # so that the many do not hide the few
    path = chance.choice([path for path in every if len(path) <= depth])
    around = at(data, path[:-1])
    kind = chance.choice(("absurd", "absurd", "absurd", "drop", "other", "rename", "twice"))
    if kind == "absurd":
        around[path[-1]] = copy.deepcopy(chance.choice(ABSURD))
    elif kind == "drop":
        del around[path[-1]]
    elif kind == "other":
        around[path[-1]] = copy.deepcopy(at(data, chance.choice(every)))
    elif isinstance(around, dict):
        keys = [name for path in every for name in path[-1:] if isinstance(name, str)]
        value = around.pop(path[-1]) if kind == "rename" else around[path[-1]]
        around[chance.choice(keys)] = value
    else:
        around.insert(path[-1], copy.deepcopy(around[path[-1]]))
    return f"{kind} {'/'.join(map(str, path))} -> {str(around)[:200]}"


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def meaning_of(original: Bundle, path: Path, chance: random.Random) -> str:
    """Write the bundle with a part, or a value of its manifest or of a plan, changed; say which."""
    whole = original.file
    manifest = copy.deepcopy(dict(whole.manifest))
    parts = {name: whole.tensor(name) for name in whole.names}
    kind = chance.choice(("manifest", "manifest", "plan", "plan", "plan", "part"))
    if kind == "manifest":
        told = changed(manifest, chance)
    elif kind == "part":
        name = chance.choice(sorted(parts))
        told = f"another part {name}"
        parts[name] = chance.choice(ODD)(parts[name])
    else:
        name = chance.choice(sorted(n for n in parts if n.startswith(("plan/", "proof/"))))
        plan = json.loads(whole.text(name))
        told = f"{name}: {changed(plan, chance)}"
        parts[name] = packed_text(json.dumps(plan))
    file.write(path, manifest, parts)
    return told
