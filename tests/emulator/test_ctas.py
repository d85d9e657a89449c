"""Programs of a grid that meet: with atomics, locks and counters, and without."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError

from .test_replicas import ARCHS, random, verify

CTAS, BLOCK = 6, 64


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("atomic", None),
        ("plain", r"\[race\].*argument \S*param_1.*also (read|written) by"),
        ("mixed", r"\[race\].*argument \S*param_1.*(atomic|also written)"),
    ],
)
def test_a_sum_of_all(triton_kernel, arch, how, match):
    x, y = random(CTAS, BLOCK), torch.zeros(BLOCK)
    constants = {"BLOCK": BLOCK, "HOW": how}
    kernel = triton_kernel("accumulate", {"x_ptr": x, "y_ptr": y}, constants, arch)
    if match is None:
        verify(kernel, [x, y], {1: x.sum(0)}, CTAS)
        return
    for schedule in SCHEDULES:
        for together in (1, None):
            with pytest.raises(EmulationError, match=match):
                kernel.run((CTAS,), [x, y.clone()], schedule=schedule, side_by_side=together)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("sem", ["acq_rel", "relaxed"])
def test_the_last_block(triton_kernel, arch, sem):
    x, part, y = random(8, BLOCK), torch.zeros(8), torch.zeros(1)
    count = torch.zeros(1, dtype=torch.int32)
    args = {"x_ptr": x, "part_ptr": part, "count_ptr": count, "y_ptr": y, "n": 8}
    constants = {"N": 8, "BLOCK": BLOCK, "SEM": sem}
    kernel = triton_kernel("last_block", args, constants, arch, num_warps=2)
    if sem == "acq_rel":
        verify(kernel, list(args.values()), {3: x.sum().reshape(1)}, 8)
    else:
        match = r"\[race\].*read of .*param_1.*also written by CTA number 0, and nothing orders"
        with pytest.raises(EmulationError, match=match):
            kernel.run((8,), list(args.values()))


@pytest.mark.parametrize("arch", ARCHS)
def test_a_lock(triton_kernel, arch):
    """One program after the other, so that none has to wait."""
    x, y = random(CTAS, BLOCK), torch.zeros(BLOCK)
    lock = torch.zeros(1, dtype=torch.int32)
    args = {"x_ptr": x, "y_ptr": y, "lock_ptr": lock}
    kernel = triton_kernel("locked", args, {"BLOCK": BLOCK, "LOCK": True}, arch)
    for schedule in SCHEDULES:
        mine = y.clone()
        counters = kernel.run((CTAS,), [x, mine, lock], schedule=schedule, side_by_side=1)
        assert not counters.report_counts
        torch.testing.assert_close(mine, x.sum(0))
    kernel = triton_kernel("locked", args, {"BLOCK": BLOCK, "LOCK": False}, arch)
    with pytest.raises(EmulationError, match=r"\[race\].*nothing orders the two"):
        kernel.run((CTAS,), [x, y, lock], side_by_side=1)


class TestEmpty:
    """Arguments of which it is said that nobody wrote them."""

    def kernel(self, triton_kernel):
        x, y = random(CTAS, BLOCK), torch.zeros(BLOCK)
        constants = {"BLOCK": BLOCK, "HOW": "plain"}
        return triton_kernel("accumulate", {"x_ptr": x, "y_ptr": y}, constants, 80), x, y

    def test_an_output_that_is_read(self, triton_kernel):
        kernel, x, y = self.kernel(triton_kernel)
        name = kernel.names[1]
        match = rf"\[uninitialised\].*read of memory that nobody wrote: byte 0 of argument {name}"
        for empty in ([name], [1], {1: None}):
            with pytest.raises(EmulationError, match=match):
                kernel.run((1,), [x, y], empty=empty)
        y.zero_()
        kernel.run((1,), [x, y], empty=[1], strict=False)
        assert y.isnan().all()  # whatever it held
        y.zero_()
        kernel.run((1,), [x, y])
        assert torch.equal(y, x[0])

    def test_an_atomic_on_it(self, triton_kernel):
        x, y = random(CTAS, BLOCK), torch.zeros(BLOCK)
        constants = {"BLOCK": BLOCK, "HOW": "atomic"}
        kernel = triton_kernel("accumulate", {"x_ptr": x, "y_ptr": y}, constants, 80)
        with pytest.raises(EmulationError, match=r"\[uninitialised\].*atom"):
            kernel.run((CTAS,), [x, y], empty=[1])

    def test_parts_and_what_a_launch_writes(self, triton_kernel):
        """A mask of bytes says which part is empty, and afterwards, which one still is."""
        x = random(64)
        kernel = triton_kernel("increment", {"x_ptr": x, "n": 10}, {"BLOCK": 16}, 80)
        blank = (torch.arange(256) >= 40).numpy()
        kernel.run((1,), [x, 10], empty={0: blank})
        with pytest.raises(EmulationError, match=r"\[uninitialised\].*byte 40 of argument"):
            kernel.run((1,), [x, 11], empty={0: blank})
        y = torch.zeros(64)
        pairs = triton_kernel("accumulate", {"x_ptr": x, "y_ptr": y},
                              {"BLOCK": BLOCK, "HOW": "mixed"}, 80)  # fmt: skip
        blank = torch.ones(256, dtype=torch.bool).numpy()
        pairs.run((1,), [x, y], empty={1: blank})
        assert not blank.any()
        assert torch.equal(y, x)

    def test_what_is_no_array(self, triton_kernel):
        kernel, x, y = self.kernel(triton_kernel)
        for empty in (["z"], [2]):
            with pytest.raises(ValueError, match=r"is not one of the arrays .*param_0, .*param_1"):
                kernel.run((1,), [x, y], empty=empty)
        with pytest.raises(ValueError, match="has 256 bytes, got"):
            kernel.run((1,), [x, y], empty={1: torch.ones(3, dtype=torch.bool).numpy()})
