"""Global memory accesses of a kernel, with the line of Python that each came from.

They are read from PTX or AMDGCN: there, unlike in SASS, the compiler's line table is exact.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"(?:\s+"([^"]*)")?')
LOC = re.compile(r"^\s*\.loc\s+(\d+)\s+(\d+)")
PTX = re.compile(r"\b(ld|st)\.global((?:\.[\w:]+)*)\s")
PTX_ASYNC = re.compile(r"\bcp\.async\.c[ag]\.shared\.global\S*\s*\[[^\]]*\],\s*\[[^\]]*\],\s*(\w+)")
AMD = re.compile(r"^\s+(?:global|buffer|flat)_(load|store)_([a-z]+?)(?:_d16\w*|(x[234]))?\s")
AMD_BYTES = {"dword": 4, "ushort": 2, "sshort": 2, "short": 2, "ubyte": 1, "sbyte": 1, "byte": 1}
WIDE = 16  # bytes of the widest access of one thread that every target has


@dataclass(frozen=True)
class Access:
    """`count` instructions in the text (not executions), each moving `bytes` per thread."""

    kind: str  # load or store
    bytes: int
    pointer: str  # "stage_tile:z_ptrs": the function and the pointer of its tl.load or tl.store
    line: str  # "stage.py:56"
    count: int

    @property
    def narrow(self) -> bool:
        return self.bytes < WIDE


def accesses(text: str) -> tuple[Access, ...]:
    """Return the accesses of a PTX or AMDGCN text by source line, kind and width."""
    files: dict[str, str] = {}
    found: Counter[tuple[str, int, str, int]] = Counter()
    where, inside, known = ("", 0), False, False
    for line in text.splitlines():
        if match := FILE.match(line):
            files[match[1]] = "/".join(filter(None, match.groups()[1:]))
    for line in text.splitlines():
        if line.endswith(" inline asm"):
            inside, known = "begin" in line, False
        elif match := LOC.match(line):
            # through inline assembly LLVM counts lines on, as if its lines were lines of Python
            if match[2] != "0" and not (inside and known):  # line 0: the compiler's own
                where, known = (files.get(match[1], ""), int(match[2])), True
        elif access := _access(line):
            found[(*access, *where)] += 1
    return tuple(
        Access(kind, width, _pointer(path, number, kind), f"{Path(path).name}:{number}", count)
        for (kind, width, path, number), count in sorted(found.items())
    )


def _access(line: str) -> tuple[str, int] | None:
    """Return (kind, bytes) of a line that accesses global memory, else None."""
    if match := PTX_ASYNC.search(line):
        return "load", int(match[1], 0)
    if match := PTX.search(line):
        modifiers = match[2].split(".")
        lanes = next((int(m[1:]) for m in modifiers if re.fullmatch(r"v[248]", m)), 1)
        bits = next(int(m[1:]) for m in reversed(modifiers) if re.fullmatch(r"[busf]\d+", m))
        return ("load" if match[1] == "ld" else "store"), lanes * bits // 8
    if match := AMD.match(line):
        return match[1], AMD_BYTES[match[2]] * int((match[3] or "x1")[1:])
    return None


@lru_cache(maxsize=64)
def _calls(path: str) -> tuple[tuple[str, int, int, str], ...]:
    """Return (kind, first line, last line, pointer) of every tl.load and tl.store in a file."""
    found = []
    for function in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            kind = getattr(getattr(node, "func", None), "attr", None)
            if isinstance(node, ast.Call) and kind in ("load", "store") and node.args:
                names = [n.id for n in ast.walk(node.args[0]) if isinstance(n, ast.Name)]
                pointer = next((n for n in names if "ptr" in n or "tile" in n), names[0])
                last = node.end_lineno or node.lineno
                found.append((kind, node.lineno, last, f"{function.name}:{pointer}"))
    return tuple(found)


def _pointer(path: str, line: int, kind: str) -> str:
    """Name the pointer that is accessed there; "?" where the line holds no such call."""
    if not path or not Path(path).is_file():
        return "?"
    near = (
        name for what, first, last, name in _calls(path) if what == kind and first <= line <= last
    )
    return next(near, "?")
