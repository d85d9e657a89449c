"""Offsets are 64 bits wide: the last image of a batch whose buffers pass 2^31 elements.

Buffers are sparse files mapped into memory, of which only the last image's pages exist; only that
image's programs run.
"""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.layout import PlanesLayout
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
def test_the_last_image_of_a_huge_batch(config, steps, sparse, run_programs, check):
    huge_plan = build_plan(config, BATCH, *SIZE, DTYPE, "triton", schedule="throughput")
    huge_steps = {step.name: step for step in huge_plan.steps}
    passed = set()
    network = steps(config, 1, *SIZE, DTYPE, schedule="throughput")
    for op in sorted({step.op for step in network.distinct}):
        small = next(network.trials(op))  # the earliest: its buffers are the largest
        eager, exact = small.copied(torch.clone), small.copied(torch.Tensor.double)
        step = huge_steps[small.step.name]
        tensors, seen = {}, {}
        for name, tensor in small.tensors.items():
            if name in {**small.read, **small.written}:
                if id(tensor) not in seen:
                    seen[id(tensor)] = sparse(_huge(tensor, name, small, step))
                tensor = seen[id(tensor)]
            tensors[name] = tensor
        huge = type(small)(step, tensors)
        for name, tensor in small.read.items():
            sources = small.images(tensor, 1, written=False)
            targets = huge.images(tensors[name], BATCH, written=False)
            for source, target in zip(sources, targets, strict=True):
                target[-1] = source[0]
        for call in huge.calls():
            last = -(-call.grid // BATCH) + 8  # at least one row tile: none has 8 column tiles
            run_programs(call, range(max(0, call.grid - last), call.grid))
        eager.run_twin()
        exact.run_twin()
        for name in small.written:
            groups = [
                trial.images(trial.tensors[name], batch, written=True)
                for trial, batch in ((huge, BATCH), (eager, 1), (exact, 1))
            ]
            for ours, one, other in zip(*groups, strict=True):
                there = ~other[0].isnan()
                check(ours[-1][there], one[0][there], other[0][there])
        if any(t.numel() > INT32 for t in seen.values()):
            passed.add(step.op)
    expected = {step.op for step in huge_plan.steps} - {"linear"}  # its rows are short
    assert passed >= expected, "a buffer was too small to prove anything"


def _huge(tensor, name, small, step) -> tuple[int, ...]:
    """The shape of a small trial's tensor in the huge batch."""
    if tensor.ndim != 3:
        return (tensor.shape[0] * BATCH, *tensor.shape[1:])
    layout: PlanesLayout = step.options["layout"]
    if name not in small.read:
        layout = step.options.get("out_layout") or layout
    return (tensor.shape[0], layout.rows, layout.C)
