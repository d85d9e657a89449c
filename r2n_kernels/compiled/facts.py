"""A compiled kernel's costs are read from its text: registers, spills, tensor cores, accesses.

Accesses to global memory are read from PTX or AMDGCN: there, unlike in SASS, the compiler's line
table is exact.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

SASS = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)
# HMMA: sm_80 to sm_89 and sm_120; HGMMA: sm_90; UTCHMMA: sm_100; I, Q, D, O: other types
TENSOR_CORE = re.compile(r"(UTC)?[HIQDOB]G?MMA")
BITS = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}
LOADS, STORES = ("LDG", "LDGSTS"), ("STG",)
SPILLS = ("LDL", "STL")  # loads and stores of local memory

AMDGCN = re.compile(r"^\t([a-z]\w+)", re.MULTILINE)
# LLVM's AMDGPU usage guide, code object metadata. vgpr_count holds the accumulators too.
META = re.compile(r"^\s+-?\s*\.(\w+):\s+(\d+)\s*$", re.MULTILINE)
AMD_EXTRA = ("agpr_count", "sgpr_count", "vgpr_spill_count", "sgpr_spill_count")

FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"(?:\s+"([^"]*)")?')
LOC = re.compile(r"^\s*\.loc\s+(\d+)\s+(\d+)")
PTX = re.compile(r"\b(ld|st)\.global((?:\.[\w:]+)*)\s")
PTX_ASYNC = re.compile(r"\bcp\.async\.c[ag]\.shared\.global\S*\s*\[[^\]]*\],\s*\[[^\]]*\],\s*(\w+)")
AMD = re.compile(r"^\s+(?:global|buffer|flat)_(load|store)_([a-z]+?)(?:_d16\w*|(x[234]))?\s")
AMD_BYTES = {"dword": 4, "ushort": 2, "sshort": 2, "short": 2, "ubyte": 1, "sbyte": 1, "byte": 1}
WIDE = 16  # bytes of the widest access of one thread that every target has


@dataclass(frozen=True)
class Access:
    """It is `count` instructions in the text (not executions), each moving `bytes` per thread."""

    kind: str  # load or store
    bytes: int
    pointer: str  # "stage_tile:z_ptrs": the function and the pointer of its tl.load or tl.store
    line: str  # "stage.py:56"
    count: int

    @property
    def narrow(self) -> bool:
        return self.bytes < WIDE


@dataclass(frozen=True)
class Facts:
    """Facts are costs of one kernel. Counts are of instructions in the text, not of executions.

    spill: bytes per thread in local (AMD: scratch) memory. shared: bytes per CTA. loads, stores:
    bytes that a thread moves at once -> instructions, in the machine code; `accesses` are the same
    in PTX (AMD: the machine code), with their line of source.
    """

    registers: int
    spill: int
    shared: int
    instructions: int
    tensor_cores: Mapping[str, int]  # by opcode
    loads: Mapping[int, int]
    stores: Mapping[int, int]
    barriers: int
    accesses: tuple[Access, ...] = ()
    extra: Mapping[str, int] = field(default_factory=dict)  # of one maker only

    @property
    def spilled(self) -> int:
        """Count instructions that access spilled registers (AMD: registers that were spilled)."""
        return sum(self.extra.get(name, 0) for name in (*SPILLS, "vgpr_spill_count"))

    @property
    def narrow(self) -> tuple[Access, ...]:
        return tuple(access for access in self.accesses if access.narrow)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Facts:
        """Invert `asdict`. Raises KeyError or TypeError for what is not `asdict` of facts."""
        widths = {k: {int(b): n for b, n in data[k].items()} for k in ("loads", "stores")}
        places = tuple(Access(**access) for access in data["accesses"])
        return Facts(**{**data, **widths, "accesses": places})


def nvidia_facts(ptx: str, sass: str, usage: Mapping[str, int], shared: int) -> Facts:
    """Return the facts of NVIDIA code.

    sass, usage: as build.disassemble gives them. shared: as Triton says, all of it dynamic.
    """
    found = Counter(SASS.findall(sass))  # by opcode with modifiers: "LDG.E.128"
    bases: Counter[str] = Counter()
    for opcode, count in found.items():
        bases[opcode.partition(".")[0]] += count
    return Facts(
        registers=usage["REG"],
        spill=max(usage["STACK"], usage["LOCAL"]),
        shared=shared,
        instructions=found.total(),
        tensor_cores={base: n for base, n in bases.items() if TENSOR_CORE.fullmatch(base)},
        loads=_widths(found, LOADS),
        stores=_widths(found, STORES),
        barriers=bases["BAR"],
        accesses=accesses(ptx),
        extra={base: n for base, n in bases.items() if base in SPILLS},
    )


def _widths(found: Mapping[str, int], bases: tuple[str, ...]) -> dict[int, int]:
    """Return bytes per thread -> instructions; an opcode that names no width moves 4 bytes."""
    counts: Counter[int] = Counter()
    for opcode, count in found.items():
        base, *modifiers = opcode.split(".")
        if base in bases:
            counts[next((BITS[m] for m in modifiers if m in BITS), 32) // 8] += count
    return dict(sorted(counts.items()))


def amd_facts(text: str, shared: int) -> Facts:
    """Return the facts of an AMDGCN text."""
    meta = {name: int(n) for name, n in META.findall(text[text.index("amdhsa.kernels:") :])}
    found = Counter(AMDGCN.findall(text.partition(".Lfunc_end0")[0]))
    places = accesses(text)
    widths: dict[str, Counter[int]] = {"load": Counter(), "store": Counter()}
    for access in places:
        widths[access.kind][access.bytes] += access.count
    return Facts(
        registers=meta["vgpr_count"],
        spill=meta["private_segment_fixed_size"],
        shared=shared,
        instructions=found.total(),
        tensor_cores={opcode: n for opcode, n in found.items() if opcode.startswith("v_mfma")},
        loads=dict(sorted(widths["load"].items())),
        stores=dict(sorted(widths["store"].items())),
        barriers=found["s_barrier"],
        accesses=places,
        extra={name: meta.get(name, 0) for name in AMD_EXTRA},
    )


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
