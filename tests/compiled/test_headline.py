"""The headline model, 224 px, float16, batches 1 and 256: what its kernels must be everywhere.

Weekly on sm_120, whose instructions are nearly sm_80's; `r2n gate` compares all targets.
"""

from __future__ import annotations

import os

import pytest

from r2n_kernels.compiled.summary import TARGETS, requests, summaries
from r2n_kernels.kernels.tiles import MIN_BLOCK

LIMIT_S = 120  # of one target, on two cores, with a cold cache
RESIDENT = ("stage_images", "stage_windows")
CHAINS = {
    "sm_80": RESIDENT, "sm_90": RESIDENT, "sm_100": ("stage_chained",),
    "sm_120": (*RESIDENT, "stage_chained"),  # 28x28 pixels do not fit its shared memory
}  # fmt: skip
# Accesses that may be narrower than 16 bytes, and why
EXCEPTIONS = {
    "b_ptr": "the bias, once a tile: a thread of an mma layout holds 2 neighbouring columns",
    "prepare_kernel:target": "a pixel's 4 channels are 8 bytes",
    "global_pool_kernel:out_ptr": "the embedding, once an image: 256 columns over 128 threads",
}

# Beside a last row tile of 16 rows, or a part of 16 columns: a thread has less than 16 bytes of it
SMALL_TILES = {
    "add_products:w_ptrs", "gemm_tile:x_tile", "conv_tile:x_ptrs", "conv1_tile:plane_ptrs",
    "conv1_tile:y_ptrs", "conv3_tile:x_ptr", "conv3_tile:out_ptr", "linear_kernel:target",
    "first_stage_tile:y_ptrs", "stage_tile:y_ptr", "stage_tile:z_ptrs",
}  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(
    params=[pytest.param(t, marks=pytest.mark.weekly) if t == "sm_120" else t for t in TARGETS]
)
def rows(request, headline):
    """Those of one target."""
    return headline(request.param).rows


def test_quick(headline):
    if (os.cpu_count() or 1) < 2:
        pytest.skip("the limit is for two cores")
    assert headline("sm_90").seconds < LIMIT_S


def chains(rows) -> tuple[str, ...]:
    """Return the kernels of batch 256's split chains on a target."""
    return CHAINS[rows[0].instance.target]


def test_all_ops_are_there(rows):
    assert {row.instance.kernel for row in rows} == {
        "prepare", "conv", "conv_pool", "maxpool", "conv1", "first_stage", "stage_split", "conv3",
        "global_pool", "linear", *chains(rows),
    }  # fmt: skip
    assert len({row.key for row in rows}) == len(rows)


def test_no_fault(rows):
    """Everything compiles, nothing spills, shared memory fits, and GEMMs use tensor cores."""
    assert [f"{row.key}: {fault}" for row in rows for fault in row.faults] == []
    gemms = {
        "conv", "conv_pool", "conv1", "conv3", "first_stage", "stage_split", "linear",
        *chains(rows),
    }  # fmt: skip
    assert {row.instance.kernel for row in rows if row.compiled.facts.tensor_cores} == gemms


def test_the_stage_kernel_keeps_its_barrier(rows):
    """Between two splits. Without it, some configurations read neighbours' rows too early.

    test_resident.py drops those of resident chains, one at a time.
    """
    chained = [row for row in rows if row.instance.kernel in chains(rows)]
    assert len(chained) == 4
    for row in chained:
        if row.instance.kernel == "stage_chained":
            assert "ttg.barrier" in row.compiled.texts["ttir"], row.key
        assert row.compiled.facts.barriers, row.key


def has_small_tiles(row):
    names = [name for name, _ in row.instance.signature]
    constants = {names[place]: value for (place,), value in row.instance.constants}
    rows = constants.get("HALF") or constants.get("BLOCK_M")
    return rows == MIN_BLOCK or bool(constants.get("TAIL", 0) & MIN_BLOCK)


def excused(row, access):
    """The entry of EXCEPTIONS or SMALL_TILES for an access, if there is one."""
    if access.pointer in SMALL_TILES and has_small_tiles(row):
        return access.pointer
    names = (access.pointer, access.pointer.partition(":")[2])
    return next((name for name in names if name in EXCEPTIONS), None)


def test_accesses_are_16_bytes_wide(rows):
    narrow = [(row, access) for row in rows for access in row.compiled.facts.narrow]
    assert [(str(row.key), access) for row, access in narrow if not excused(row, access)] == []
    found = {excused(*one) for one in narrow}
    assert set(EXCEPTIONS) <= found  # none out of date
    if rows[0].instance.target == "sm_90":  # which has parts and short tiles of every kernel
        assert set(SMALL_TILES) <= found


def test_machine_code_has_no_narrow_access_of_its_own(rows):
    """ptxas keeps PTX's widths: what the SASS does narrowly is in the list above."""
    for row in rows:
        facts = row.compiled.facts
        for kind, widths in (("load", facts.loads), ("store", facts.stores)):
            known = {access.bytes for access in facts.accesses if access.kind == kind}
            assert set(widths) <= known, row.key


def test_as_in_the_baseline(rows, check_accepted):
    target = rows[0].instance.target
    check_accepted(summaries(requests(targets=[target]), rows))
