"""What the bundled cuobjdump and nvdisasm say about a cubin."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from ..errors import KernelError

INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)
USAGE = re.compile(r"\b(REG|STACK|SHARED|LOCAL):(\d+)")
# HMMA: sm_80 to sm_89 and sm_120; HGMMA: sm_90; UTCHMMA: sm_100; I, Q, D, O: other types
TENSOR_CORE = re.compile(r"(UTC)?[HIQDOB]G?MMA")
BITS = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}
LOADS, STORES = ("LDG", "LDGSTS"), ("STG",)


def disassemble(cubin: bytes) -> tuple[str, dict[str, int]]:
    """SASS text, and registers a thread, stack, static shared and local bytes ("REG", ...)."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = _output(knobs.nvidia.cuobjdump.path, "-res-usage", path)
        return _output(knobs.nvidia.nvdisasm.path, "-c", path), {
            name: int(value) for name, value in USAGE.findall(usage)
        }


def _output(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
    return done.stdout


def opcodes(sass: str) -> Counter[str]:
    """Instructions by opcode with its modifiers: "LDG.E.128"."""
    return Counter(INSTRUCTION.findall(sass))


def tensor_cores(found: Counter[str]) -> dict[str, int]:
    """Tensor-core instructions by opcode without modifiers."""
    return _by_base(found, lambda base: bool(TENSOR_CORE.fullmatch(base)))


def widths(found: Counter[str], bases: tuple[str, ...]) -> dict[int, int]:
    """Bytes a thread -> instructions, of the opcodes with these bases; 4 bytes where none says."""
    counts: Counter[int] = Counter()
    for opcode, count in found.items():
        base, *modifiers = opcode.split(".")
        if base in bases:
            counts[next((BITS[m] for m in modifiers if m in BITS), 32) // 8] += count
    return dict(sorted(counts.items()))


def spills(found: Counter[str]) -> dict[str, int]:
    return _by_base(found, lambda base: base in ("LDL", "STL"))


def barriers(found: Counter[str]) -> int:
    return sum(_by_base(found, lambda base: base == "BAR").values())


def _by_base(found: Counter[str], wanted) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for opcode, count in found.items():
        base = opcode.partition(".")[0]
        if wanted(base):
            counts[base] += count
    return dict(counts)
