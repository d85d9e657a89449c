"""Products compiled for every target: fragments and matrix descriptors, against float64."""

from __future__ import annotations

import re

import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, Kernel

FP16, BF16, FP32, INT8 = torch.float16, torch.bfloat16, torch.float32, torch.int8
UNIT = {80: "mma", 86: "mma", 89: "mma", 90: "wgmma", 100: "tcgen05", 120: "mma"}
# name: (arguments of `gemm`, tolerance)
CASES = {
    "fp16": ({"dtype": FP16}, 1e-6),
    "bf16 transposed": ({"dtype": BF16, "out": BF16, "a_columns": True, "b_columns": True}, 3e-3),
    "tf32": ({"dtype": FP32}, 2e-3),
    "ieee": ({"dtype": FP32, "precision": "ieee", "tile": (32, 32, 16, 4, 2), "k": 32, "m": 32,
              "n": 32}, 1e-6),
    "int8": ({"dtype": INT8, "out": torch.int32, "acc": "int32", "b_columns": True,
                  "tile": (64, 64, 64, 4, 3)}, 0),
    "through registers": ({"relu": True}, 1e-6),
    "partial tile": ({"m": 80, "n": 128, "k": 96, "tile": (64, 128, 32, 4, 3)}, 1e-6),
}  # fmt: skip
SLOW = {
    "a transposed": ({"a_columns": True}, 1e-6),
    "b transposed": ({"b_columns": True}, 1e-6),
    "bf16": ({"dtype": BF16, "out": BF16}, 3e-3),
    "fp16 accumulator": ({"out": FP16, "acc": "float16"}, 3e-3),
    "fp16 transposed accumulator": ({"out": FP16, "acc": "float16", "a_columns": True}, 3e-3),
    "128 rows of fp16 accumulators": ({"m": 128, "out": FP16, "acc": "float16",
                                           "tile": (128, 64, 32, 4, 3)}, 3e-3),
    "8 warps": ({"m": 256, "n": 256, "k": 128, "tile": (128, 128, 64, 8, 3)}, 1e-6),
    "int8 by rows": ({"dtype": INT8, "out": torch.int32, "acc": "int32",
                      "tile": (64, 64, 64, 4, 3)}, 0),
    "through registers, 8 warps": ({"m": 128, "n": 128, "k": 64, "relu": True, "dtype": BF16,
                                        "tile": (128, 128, 32, 8, 3)}, 1e-6),
    "tf32 through registers": ({"dtype": FP32, "relu": True}, 2e-3),
    "narrow": ({"n": 16, "tile": (64, 16, 32, 4, 3)}, 1e-6),
    "short": ({"m": 128, "n": 64, "k": 48, "tile": (128, 32, 16, 4, 3)}, 1e-6),
    "one warp": ({"m": 16, "n": 16, "tile": (16, 16, 32, 1, 3)}, 1e-6),
    "two warps": ({"m": 32, "n": 32, "tile": (32, 32, 32, 2, 3)}, 1e-6),
}  # fmt: skip
ALL = [
    *((arch, name) for name in CASES for arch in (80, 90, 100)),
    *((arch, name) for name in ("fp16", "int8") for arch in (86, 89, 120)),  # else sm_80's code
    *(pytest.param(120, k, marks=pytest.mark.slow) for k in CASES if k not in ("fp16", "int8")),
    *(pytest.param(arch, name, marks=pytest.mark.slow) for name in SLOW for arch in (80, 90, 100)),
]


@pytest.mark.parametrize(("arch", "name"), ALL)
def test_every_schedule_multiplies(gemm, arch, name):
    options, tolerance = {**CASES, **SLOW}[name]
    case = gemm(**options)
    kernel = case.kernel(arch)
    for schedule in SCHEDULES:
        _c, error, counters = case.run(kernel, schedule=schedule, seed=3)
        assert error <= tolerance, schedule
        assert counters.macs == (0 if name == "ieee" else case.macs)
        assert set(counters.report_counts) <= {"serialized"}, counters.reports
    if name == "ieee":
        assert counters.fmas == case.macs
    if name in ("fp16", "partial tile"):
        assert any(i.startswith(f"{UNIT[arch]}.") for i in counters.instructions)


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_how_it_is_run_changes_no_bit(gemm, arch):
    case = gemm(m=160, n=128, k=96)
    kernel = case.kernel(arch)
    wanted, _, counters = case.run(kernel)
    for schedule in SCHEDULES:
        c, _, _ = case.run(kernel, schedule=schedule)
        assert torch.equal(c, wanted), schedule
    for options in ({"track": False}, {"side_by_side": 1}, {"side_by_side": 3}):
        c, _, again = case.run(kernel, **options)
        assert torch.equal(c, wanted), options
        assert again.instructions == counters.instructions
        assert again.global_ == counters.global_
        assert again.shared == counters.shared
        assert again.unique == counters.unique


def test_parts_of_a_grid(gemm):
    case = gemm(m=192, n=128)
    kernel = case.kernel(80)
    whole, _, _ = case.run(kernel)
    part, _, counters = case.run(kernel, ctas=[1, 4])
    rows = slice(64, 128)
    assert torch.equal(part[rows], whole[rows])
    assert (part[:64] == 7).all()
    assert (part[128:] == 7).all()
    assert counters.macs == case.macs // 3


# every other warp takes the branch, another half of them in the next CTA: both go on alike
PART = """{{ .reg .pred q; .reg .b32 t, c; mov.u32 t, %tid.x; mov.u32 c, %ctaid.{axis};
shr.u32 t, t, 5; add.s32 t, t, c; and.b32 t, t, 1; setp.eq.u32 q, t, 0; @q bra parted; parted: }}"""
FLYING = re.compile(
    r"\s*(?:@\S+\s+)?(cp\.async\.(?:wait|commit)_group|wgmma\.(?:wait|commit)_group"
    r"|mbarrier\.(?:init|inval)|tcgen05\.(?:mma|commit|wait))"
)


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_groups_part_with_anything_in_flight(gemm, arch):
    """Split in front of each instruction that starts, ends or counts asynchronous operations."""
    case = gemm(m=128, n=128, k=96)
    kernel = case.kernel(arch)
    _, _, whole = case.run(kernel)
    lines, seen = kernel.ptx.split("\n"), set()
    for place, line in enumerate(lines):
        match = FLYING.match(line)
        if not match or (match[1], place % 3) in seen:  # some of each
            continue
        seen.add((match[1], place % 3))
        for axis in "xy":
            text = "\n".join([*lines[:place], PART.format(axis=axis), *lines[place:]])
            parted = Kernel(text, kernel.dynamic_bytes, kernel.num_warps)
            _, error, counters = case.run(parted)
            assert error < 1e-6, (match[1], place)
            assert not counters.report_counts
            assert counters.shared == whole.shared
    assert len(seen) >= 4


# every other lane takes the branch, and all meet behind it
LANES_PART = """{ .reg .pred q; .reg .b32 t; mov.u32 t, %tid.x; and.b32 t, t, 1;
setp.eq.u32 q, t, 0; @q bra met; mov.u32 t, 5; met: }"""


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_lanes_part_with_anything_in_flight(gemm, arch):
    case = gemm(m=128, n=128, k=96)
    kernel = case.kernel(arch)
    _, _, whole = case.run(kernel)
    lines = [
        f"{LANES_PART} {line}" if FLYING.match(line) else line for line in kernel.ptx.split("\n")
    ]
    parted = Kernel("\n".join(lines), kernel.dynamic_bytes, kernel.num_warps)
    _, error, counters = case.run(parted)
    assert error < 1e-6
    assert not counters.report_counts
    assert counters.shared == whole.shared
    assert counters.global_ == whole.global_
