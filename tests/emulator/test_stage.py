"""The project's chained kernel: right in every schedule, and its barrier is not for show."""

from __future__ import annotations

import re

import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError, Kernel, mutants


@pytest.mark.parametrize("arch", [80, 90, 100, 120])
@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.slow)]
)
def test_the_chain_is_right(stage, arch, dtype):
    case = stage(6, 32, 3, 2, (64, 32, 32, 4, 3), dtype)
    kernel = case.kernel(arch)
    for schedule in SCHEDULES:
        error, counters = case.run(kernel, schedule=schedule, seed=2)
        assert error < (1e-3 if dtype == torch.float16 else 1e-2), schedule
        assert not counters.report_counts, counters.reports


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(90, marks=pytest.mark.slow),
        pytest.param(80, marks=pytest.mark.slow),
        pytest.param(120, marks=pytest.mark.weekly),  # it has sm_80's instructions
    ],
)
def test_without_its_barrier_the_chain_races(stage, arch):
    """At 7 px with tiles of 64 x 256 x 64 and 8 warps Triton puts no barrier of its own there."""
    case = stage(7, 208, 2, 1, (64, 256, 64, 8, 3))
    kernel = case.kernel(arch)
    whole = case.run(kernel)
    assert whole[0] < 1e-3
    assert not whole[1].report_counts
    dropped = [m for m in mutants(kernel.ptx) if m.description == "no bar.sync"]
    # the debug_barrier: the one whose source line is in the kernel itself, behind the tiles
    (own,) = [m for m in dropped if is_own_barrier(m.source)]
    mutant = Kernel(own.text, kernel.dynamic_bytes, 8)
    for schedule in SCHEDULES:
        with pytest.raises(EmulationError, match=r"\[race\]"):
            case.run(mutant, schedule=schedule)
    # it may come first upon tiles in shared memory, which that barrier ordered as well
    _, counters = case.run(mutant, schedule="forward", strict=False)
    assert any(re.search(r"\[race\].*of argument \w+_param_0 ", str(r)) for r in counters.reports)


def test_registers_of_tensor_memory_are_renamed_before_the_wait_but_not_used(stage):
    """On sm_100 Triton puts a mov, which ptxas drops, before tcgen05.wait::ld."""
    case = stage(7, 208, 2, 1, (64, 256, 64, 8, 3))
    kernel = case.kernel(100)
    assert case.run(kernel)[0] < 1e-3
    early = [m for m in mutants(kernel.ptx) if m.description == "no tcgen05.wait::ld"]
    for mutant in early:
        with pytest.raises(EmulationError, match=r"\[race\].* of an asynchronous operation"):
            case.run(Kernel(mutant.text, kernel.dynamic_bytes, 8))
    assert early


def is_own_barrier(source: str) -> bool:
    """Whether it is the line of tl.debug_barrier() in the chained kernel."""
    name, _, line = source.partition(" ")[0].partition(":")
    if name != "stage.py":
        return False
    import inspect

    from r2n_kernels.kernels import stage

    return "debug_barrier" in inspect.getsource(stage).split("\n")[int(line) - 1]
