"""The plan's executed MACs and launches against the kernels that are launched, and their loops."""

from __future__ import annotations

from functools import cache
from math import ceil

import pytest
import torch

from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.engine.triton_ops import allocate, bind
from r2n_kernels.fold import fold
from r2n_kernels.fold.triton_layout import pack_network
from r2n_kernels.kernels.call import Call
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.reference import Res2Net

META = torch.device("meta")
ODD = Res2NetConfig(layers=(2, 2), planes=(33, 301), scale=3, in_chans=5, num_classes=300)
CONFIGS = {**VARIANTS, "odd": ODD}


@cache
def weights(name: str, dtype: torch.dtype):
    with META:
        state = Res2Net(CONFIGS[name]).state_dict()
        return pack_network(CONFIGS[name], fold(CONFIGS[name], state, torch.float32), state, dtype)


def padded(size: int, block: int) -> int:
    return ceil(size / block) * block


def fewer(call: Call, tiles: int, rows: int) -> int:
    """Rows that the last of so many row tiles leaves out, where half of them are enough."""
    c = call.constants
    return c["HALF"] if rows <= (tiles - 1) * c["BLOCK_M"] + c["HALF"] else 0


def macs(call: Call) -> int:
    """Of all programs, as the kernel's loops run."""
    c, grid = call.constants, call.grid
    if "BLOCK_K" not in c:
        return 0
    if "PARTS" in c:  # a resident chain, of 9 taps a split
        tiles = 1
        if call.name == "stage_windows_kernel":
            tiles = -(-c["H"] * (c["W"] + 1) // c["BLOCK_M"])
        area = sum(rows * sum(widths) for rows, widths in c["PARTS"])
        return grid * c["SPLITS"] * tiles * area * 9 * padded(c["C"], 16)
    tile, k = c["BLOCK_M"] * c["BLOCK_N"], padded(c["K"], c["BLOCK_K"])
    if call.name == "linear_kernel":
        return grid * tile * k
    if call.name == "conv_kernel":
        return grid * tile * c["R"] * k
    if call.name == "conv_pool_kernel":
        return grid * (2 * c["BAND"] + 1) * tile * c["R"] * k
    if call.name == "conv3_kernel":
        tiles = ceil(c["N"] / c["BLOCK_N"])
        rows = grid // tiles * c["BLOCK_M"] - fewer(call, grid // tiles, call.args["M"])
        return rows * tiles * c["BLOCK_N"] * (k + padded(c["KS"], c["BLOCK_KS"]))
    tiles, columns = c["FULL"] + (c["TAIL"] > 0), c["FULL"] * c["BLOCK_N"] + c["TAIL"]
    row = c["BLOCK_M"] * columns * k  # of tiles
    if call.name == "conv1_kernel":
        left_out = fewer(call, grid // tiles, call.args["M"]) * c["FULL"] * c["BLOCK_N"] * k
        return grid // tiles * row - left_out
    if call.name == "first_stage_kernel":
        return grid // c["GROUPS"] * c["CONVS"] * row * 3
    pixels = c["H"] * c["W"]
    row_tiles = ceil(pixels / c["BLOCK_M"])
    left_out = fewer(call, row_tiles, pixels) * c["FULL"] * c["BLOCK_N"] * k
    one = 3 * (row_tiles * row - left_out)  # of one split of one image
    if call.name == "stage_split_kernel":
        return grid // (tiles * row_tiles) * one
    assert call.name == "stage_chained_kernel"
    return grid * c["SPLITS"] * one


@pytest.mark.parametrize("schedule", ["throughput", "latency"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("batch", [1, 256])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_step_executes_what_the_plan_says(name, batch, dtype, schedule):
    plan = build_plan(
        CONFIGS[name], batch, 224, 224, dtype, "triton",
        target=TARGETS["sm_90"], schedule=schedule,
    )  # fmt: skip
    buffers = allocate(plan, META)
    buffers["input"] = torch.empty(plan.buffers["input"].shape, dtype=dtype, device=META)
    for step in plan.steps:
        calls = bind(step, buffers, weights(name, dtype)).calls()
        assert step.executed_macs == sum(map(macs, calls)), step.name
        assert len(step.launches) == len(calls), step.name
