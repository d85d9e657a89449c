"""float32 runs on FMA units, with operands in registers: where a spill comes first."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.instances import Request
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels.targets import TARGETS

# Of sm_80's instructions with less shared memory, and with sm_90's FMAs and room
LIKE_ANOTHER = ("sm_86", "sm_89", "sm_100", "sm_120")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(name, marks=pytest.mark.weekly if name in LIKE_ANOTHER else pytest.mark.slow)
        for name in TARGETS
    ],
)
def test_the_headlines_convolutions_neither_spill_nor_round_to_tf32(target, pool):
    request = Request(VARIANTS[HEADLINE], 256, 224, 224, torch.float32, target)
    for pattern, count in (("stage_chained", 4), ("first_stage", 4)):
        rows = inspect([request], pool, kernel=pattern)
        assert len(rows) == count
        assert [f"{row.key}: {fault}" for row in rows for fault in row.faults] == []
        if TARGETS[target].backend == "cuda":  # AMD's matrix cores multiply float32 as it is
            assert not any(row.compiled.facts.tensor_cores for row in rows)
