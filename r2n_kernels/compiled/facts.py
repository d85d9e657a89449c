"""What a compiled kernel costs, read from its text: registers, spills, tensor cores, accesses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .accesses import Access, accesses

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


@dataclass(frozen=True)
class Facts:
    """Costs of one kernel. Counts are of instructions in the text, not of executions.

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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Facts:
        """Raises KeyError or TypeError for what `to_json` did not write."""
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
