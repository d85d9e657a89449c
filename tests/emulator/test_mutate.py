"""Synchronisation dropped one instruction at a time: no wrong number goes unreported."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest

from r2n_kernels.emulator import SCHEDULES, EmulationError, Kernel, Mutant, mutants

PTX = """.visible .entry t()
{
\t.loc\t1 5 2
\tbar.sync \t0;
\t.loc\t1 84 5, function_name $L__info_string0, inlined_at 2 7 1
\tcp.async.wait_group \t1;
\twgmma.wait_group.sync.aligned 0;
\t@%p2 bar.sync 1, 64;
\tfence.proxy.async.shared::cta;
\tmbarrier.try_wait.parity.shared::cta.b64 complete, [%r1], %r2;
\ttcgen05.wait::ld.sync.aligned;
\t@%p1 tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%r1];
\tadd.s32 %r1, %r2, %r3;
}
\t.file\t1 "/src/stage.py"
\t.file\t2 "/src" "call.py"
"""


def test_what_is_mutated():
    found = list(mutants(PTX))
    inlined = "stage.py:84 from call.py:7"
    assert [(m.description, m.line, m.source) for m in found] == [
        ("no bar.sync", 4, "stage.py:5"),
        ("cp.async.wait_group 1 -> 2", 6, inlined), ("no cp.async.wait_group", 6, inlined),
        ("wgmma.wait_group 0 -> 1", 7, inlined), ("no wgmma.wait_group", 7, inlined),
        ("no bar.sync", 8, inlined), ("no fence.proxy.async", 9, inlined),
        ("no mbarrier wait", 10, inlined), ("no tcgen05.wait::ld", 11, inlined),
        ("no tcgen05.commit", 12, inlined),
    ]  # fmt: skip
    changed = {
        "no bar.sync": "", "cp.async.wait_group 1 -> 2": "cp.async.wait_group 2;",
        "wgmma.wait_group 0 -> 1": "wgmma.wait_group.sync.aligned 1;",
        "no mbarrier wait": "setp.eq.u32 complete, 0, 0;",
    }  # fmt: skip
    for mutant in found:
        before, after = PTX.split("\n"), mutant.text.split("\n")
        different = [i for i, pair in enumerate(zip(before, after, strict=True), 1)
                     if pair[0] != pair[1]]  # fmt: skip
        assert different == [mutant.line]
        if mutant.description in changed:
            assert after[mutant.line - 1] == changed[mutant.description]


# sm_80 and sm_120 have the instructions of sm_90's small tiles
TARGETS = (80, *(pytest.param(arch, marks=pytest.mark.slow) for arch in (90, 100, 120)))
LARGER = (
    pytest.param(90, marks=pytest.mark.slow),
    *(pytest.param(arch, marks=pytest.mark.weekly) for arch in (80, 100, 120)),
)


def hunt(
    kernel: Kernel, run: Callable[..., float], tolerance: float
) -> tuple[Counter[str], list[tuple[Mutant, str]]]:
    """(outcomes, holes): run(kernel, schedule=, seed=) is the error of the result."""
    outcomes: Counter[str] = Counter()
    holes = []
    for mutant in mutants(kernel.ptx):
        reported, wrong = [], []
        changed = Kernel(mutant.text, kernel.dynamic_bytes, kernel.num_warps)
        for schedule in SCHEDULES:
            try:
                error = run(changed, schedule=schedule, seed=1)
                reported.append(False)
                wrong.append(math.isnan(error) or error > tolerance)
            except EmulationError:
                reported.append(True)
        if any(wrong):
            holes.append((mutant, f"{mutant.source} line {mutant.line}: {mutant.description}"))
        caught = "caught" if all(reported) else "caught at times" if any(reported) else "harmless"
        outcomes[f"{mutant.description.split(' 0')[0].split(' 1')[0]}: {caught}"] += 1
    return outcomes, holes


# every one of these must be caught in some place, whatever else turns out to be harmless
VITAL = {
    80: ("bar.sync", "cp.async.wait_group"), 120: ("bar.sync", "cp.async.wait_group"),
    90: ("bar.sync", "cp.async.wait_group", "fence.proxy.async"),
    100: ("bar.sync", "cp.async.wait_group", "fence.proxy.async", "mbarrier wait",
          "tcgen05.commit", "tcgen05.wait::ld", "tcgen05.wait::st"),
}  # fmt: skip


# In products and stages sm_120 has the instructions of sm_80
ALL = [80, 90, 100, pytest.param(120, marks=pytest.mark.weekly)]


def verify(kernel: Kernel, run: Callable[..., float], tolerance: float, arch: int) -> None:
    outcomes, holes = hunt(kernel, run, tolerance)
    assert not holes, [text for _, text in holes]
    for name in VITAL[arch]:
        assert outcomes[f"no {name}: caught"] > 0, outcomes
    assert not any("at times" in outcome for outcome in outcomes), outcomes


@pytest.mark.parametrize("arch", TARGETS)
def test_no_mutant_of_a_product_goes_unseen(gemm, arch):
    case = gemm(m=64, n=64, k=128)
    verify(case.kernel(arch), lambda k, **o: case.run(k, **o)[1], 1e-6, arch)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ALL)
def test_no_mutant_of_a_product_through_registers_goes_unseen(gemm, arch):
    case = gemm(m=128, n=128, k=128, relu=True, tile=(64, 64, 32, 4, 3))
    verify(case.kernel(arch), lambda k, **o: case.run(k, **o)[1], 1e-6, arch)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ALL)
def test_no_mutant_of_the_stage_goes_unseen(stage, arch):
    case = stage(5, 32, 2, 1, (64, 32, 32, 4, 3))
    verify(case.kernel(arch), lambda k, **o: case.run(k, **o)[0], 2e-3, arch)


@pytest.mark.parametrize("arch", LARGER)
def test_no_mutant_of_a_larger_stage_goes_unseen(stage, arch):
    case = stage(6, 64, 2, 2, (64, 64, 32, 4, 4))
    verify(case.kernel(arch), lambda k, **o: case.run(k, **o)[0], 2e-3, arch)
