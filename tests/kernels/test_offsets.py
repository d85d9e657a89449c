"""Offsets are 64 bits wide: the last image of a batch whose buffers pass 2^31 elements.

Buffers are sparse files mapped into memory, of which only the last image's pages exist; only that
image's programs run.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.triton_ops import allocate
from r2n_kernels.kernels.targets import INTERPRETER
from r2n_kernels.plan import build_plan

INT32 = 2**31
BEFORE = INT32  # elements before each buffer, so that a wrapped offset does not crash the process
BATCH = 3 << 19
CONFIG = Res2NetConfig(
    layers=(2, 2), planes=(64, 128), scale=4, deep_stem=True, avg_down=True, stem_width=32,
    num_classes=10,
)  # fmt: skip
SEVEN = CONFIG.replace(deep_stem=False, avg_down=False, num_classes=0)
SIZE = (32, 32)
DTYPE = torch.float16


@pytest.fixture
def sparse(tmp_path):
    """sparse(shape): zeros that take no memory until they are written."""

    def make(shape: tuple[int, ...]) -> torch.Tensor:
        size = BEFORE + torch.Size(shape).numel()
        path = tmp_path / "buffer"
        whole = torch.from_file(str(path), shared=True, size=size, dtype=DTYPE)
        path.unlink()  # the mapping keeps it
        return whole[BEFORE:].view(shape)

    return make


@pytest.mark.parametrize("config", [CONFIG, pytest.param(SEVEN, marks=pytest.mark.slow)])
def test_the_last_image_of_a_huge_batch(config, trials, sparse, run_programs, check):
    where = {"target": INTERPRETER, "schedule": "throughput"}
    plan = build_plan(config, BATCH, *SIZE, DTYPE, "triton", **where)
    steps = {step.name: step for step in plan.steps}
    meta = {"input": torch.empty(plan.buffers["input"].shape, device="meta")}
    meta |= allocate(plan, torch.device("meta"))
    passed, seen = set(), set()
    for small in trials(config, 1, *SIZE, DTYPE, schedule="throughput"):
        step = steps[small.step.name]
        if step.op in seen:  # the earliest of an op has the largest buffers
            continue
        seen.add(step.op)
        eager, exact = small.copied(), small.copied(torch.Tensor.double)
        buffers = {name: sparse(meta[name].shape) for name in small.buffers}
        huge = dataclasses.replace(small, plan=plan, step=step, buffers=buffers)
        for name in step.reads:
            for source, target in zip(small.images(name), huge.images(name), strict=True):
                target[-1] = source[0]
        for call in huge.bound.calls():
            last = -(-call.grid // BATCH) + 8  # at least one row tile: none has 8 column tiles
            run_programs(call, range(max(0, call.grid - last), call.grid))
        eager.run_twin()
        exact.run_twin()
        for name in step.writes:
            groups = [trial.images(name) for trial in (huge, eager, exact)]
            for ours, one, other in zip(*groups, strict=True):
                there = ~other[0].isnan()
                check(ours[-1][there], one[0][there], other[0][there])
        if any(tensor.numel() > INT32 for tensor in buffers.values()):
            passed.add(step.op)
    expected = {step.op for step in plan.steps} - {"linear"}  # its rows are short
    assert passed >= expected, "a buffer was too small to prove anything"
