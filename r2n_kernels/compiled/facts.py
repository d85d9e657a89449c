"""What a compiled kernel costs: registers, spills, shared memory, tensor cores, access widths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from . import amdgcn, sass
from .accesses import Access, accesses


@dataclass(frozen=True)
class Facts:
    """Counts are of instructions in the text, not of executions.

    spill: bytes a thread keeps in local (AMD: scratch) memory.
    shared: bytes a CTA. widths: bytes a thread moves at once -> instructions, in the machine code;
    `accesses` are the same in PTX (AMD: the machine code), with their line of source.
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
        """Instructions that access spilled registers, or registers that were spilled (AMD)."""
        return sum(self.extra.get(n, 0) for n in ("LDL", "STL", "vgpr_spill_count"))

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


def nvidia_facts(ptx: str, text: str, usage: Mapping[str, int], shared: int) -> Facts:
    """`text` and `usage` as sass.disassemble gives them; `shared` is Triton's, all dynamic."""
    found = sass.opcodes(text)
    return Facts(
        registers=usage["REG"],
        spill=max(usage["STACK"], usage["LOCAL"]),
        shared=shared,
        instructions=found.total(),
        tensor_cores=sass.tensor_cores(found),
        loads=sass.widths(found, sass.LOADS),
        stores=sass.widths(found, sass.STORES),
        barriers=sass.barriers(found),
        accesses=accesses(ptx),
        extra=sass.spills(found),
    )


def amd_facts(text: str, shared: int) -> Facts:
    meta, found, places = amdgcn.metadata(text), amdgcn.opcodes(text), accesses(text)
    widths: dict[str, Counter[int]] = {"load": Counter(), "store": Counter()}
    for access in places:
        widths[access.kind][access.bytes] += access.count
    names = ("agpr_count", "sgpr_count", "vgpr_spill_count", "sgpr_spill_count")
    return Facts(
        registers=meta["vgpr_count"],
        spill=meta["private_segment_fixed_size"],
        shared=shared,
        instructions=found.total(),
        tensor_cores=amdgcn.matrix_cores(found),
        loads=dict(sorted(widths["load"].items())),
        stores=dict(sorted(widths["store"].items())),
        barriers=found["s_barrier"],
        accesses=places,
        extra={name: meta.get(name, 0) for name in names},
    )
