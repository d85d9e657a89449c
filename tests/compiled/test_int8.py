"""Compiled kernels of int8 blocks, in the emulator: their twins' bits, by int8 instructions."""

from __future__ import annotations

import re

import pytest

from r2n_kernels.compiled.build import compile_instance
from r2n_kernels.compiled.instances import specialise
from r2n_kernels.compiled.launcher import Code
from r2n_kernels.compiled.run import Emulation, Executable
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.kernels.versions import served

from ..int8_cases import step_cases

TINY = Res2NetConfig(layers=(2, 1), planes=(20, 24), scale=3, num_classes=3, avg_down=True)
MMA = re.compile(r"mma\.sync\.aligned\.m16n8k32\.row\.col\.satfinite\.s32\.s8\.s8\.s32")
NATIVE = {  # how a target multiplies large tiles
    "sm_90": re.compile(r"wgmma\.mma_async\.sync\.aligned\.m64n\d+k32\.s32\.s8\.s8"),
    "sm_100": re.compile(r"tcgen05\.mma\.cta_group::1\.kind::i8"),
}


def run_steps(arguments):
    """In a worker: (step, op, buffers that differ, faults, whether MACs are the plan's, PTX)."""
    target, schedule, orders = arguments
    found = []
    chosen = {"target": served(TARGETS[target]), "schedule": schedule}
    if schedule == "throughput":
        chosen["as_batch"] = 2048  # large tiles
    for case in step_cases(TINY, 2, 33, 36, **chosen):
        twin, wrong, faults, macs, texts = case.twin(), set(), set(), set(), []
        instances = {specialise(call, target) for call in case.bound.calls()}
        compiled = {one: compile_instance(one) for one in instances}
        for order in orders:
            counts = 0
            after = case.copied()
            for call in after.bound.calls():
                instance = specialise(call, target)
                code = Code.of(instance, compiled[instance])
                emulation = Emulation(Executable(instance, code, case.step.name), order)
                emulation((call,))
                counts += sum(c.macs for c in emulation.counters)
                faults |= {str(report) for c in emulation.counters for report in c.reports}
            macs.add(counts)
            wrong |= {
                name
                for name, tensor in after.buffers.items()
                if not equal(tensor, twin[name], case.step, name)
            }
        texts = [one.texts["ptx"] for one in compiled.values()]
        spill = max(one.facts.spill for one in compiled.values())
        exact = macs == {case.step.executed_macs}
        found.append((case.step.name, case.step.op, wrong, faults, exact, spill, texts))
    return found


def equal(found, expected, step, name):
    if name in step.writes and found.dtype.is_floating_point:  # a mean, of sums in another order
        return ((found - expected).abs() <= 2**-9 * expected.abs()).all()
    return found.equal(expected)


@pytest.mark.parametrize(
    ("target", "schedule", "orders"),
    [
        pytest.param("sm_90", "throughput", ("lockstep",), marks=pytest.mark.slow),
        pytest.param("sm_80", "latency", ("lockstep",), marks=pytest.mark.slow),
        *(
            pytest.param(target, schedule, ("reverse", "random"), marks=pytest.mark.weekly)
            for target in ("sm_80", "sm_90", "sm_100", "sm_120")
            for schedule in ("latency", "throughput")
        ),
    ],
)
def test_every_step_has_its_twins_bits_without_races(target, schedule, orders, pool):
    ((_, found),) = pool.map(run_steps, [(target, schedule, orders)])
    if isinstance(found, Exception):
        raise found
    pools = {"avgpool", "global_pool", "maxpool"}
    others = {"conv1", "stage", "first_stage", "conv3", "conv3_project"}
    assert {op for _, op, *_ in found} == pools | others
    for step, op, wrong, faults, exact, spill, texts in found:
        assert (wrong, faults, exact, spill) == (set(), set(), True, 0), step
        for ptx in () if op in pools else texts:
            large = schedule == "throughput"  # short tiles are multiplied by mma.sync
            assert (NATIVE.get(target, MMA) if large else MMA).search(ptx), step
