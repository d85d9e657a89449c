"""What the text of an AMD kernel says: its metadata and its instructions."""

from __future__ import annotations

import re
from collections import Counter

# LLVM's AMDGPU usage guide, code object metadata. vgpr_count holds the accumulators too.
META = re.compile(r"^\s+-?\s*\.(\w+):\s+(\d+)\s*$", re.MULTILINE)
INSTRUCTION = re.compile(r"^\t([a-z]\w+)", re.MULTILINE)


def metadata(text: str) -> dict[str, int]:
    """vgpr_count, agpr_count, sgpr_count, vgpr_spill_count, private_segment_fixed_size, ..."""
    found = META.findall(text[text.index("amdhsa.kernels:") :])
    return {name: int(value) for name, value in found}


def opcodes(text: str) -> Counter[str]:
    return Counter(INSTRUCTION.findall(text.partition(".Lfunc_end0")[0]))


def matrix_cores(found: Counter[str]) -> dict[str, int]:
    return {opcode: count for opcode, count in found.items() if opcode.startswith("v_mfma")}
