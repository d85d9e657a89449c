"""Facts of the stem's convolution, really compiled, on a target of each kind."""

from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.compiled.build import compile_instance
from r2n_kernels.errors import KernelError

MAIN_LOOP = {("load", 16, "conv_tile:x_ptrs"), ("load", 16, "conv_tile:w_ptr")}


@pytest.fixture(params=["sm_80", "sm_100", "gfx942"])
def row(request, stem_rows):
    return stem_rows[request.param, "conv"]


def test_facts(row):
    facts = row.compiled.facts
    assert 16 < facts.registers <= 255
    assert (facts.spill, facts.spilled) == (0, 0)
    assert 0 < facts.shared <= row.target.shared_bytes
    assert facts.instructions > 100
    assert facts.barriers > 0
    assert sum(facts.loads.values()) > 0
    assert sum(facts.stores.values()) > 0
    assert row.occupancy.ctas >= 1
    assert row.faults == ()


def test_tensor_cores(row):
    (opcode,) = row.compiled.facts.tensor_cores
    kind = {"sm_80": "HMMA", "sm_100": "UTCHMMA|HMMA", "gfx942": "v_mfma"}[row.instance.target]
    assert opcode.startswith(tuple(kind.split("|")))


def test_accesses_know_their_source(row):
    places = {(a.kind, a.bytes, a.pointer) for a in row.compiled.facts.accesses}
    assert {(kind, pointer) for kind, _, pointer in places} == {
        ("load", "conv_tile:x_ptrs"),
        ("load", "conv_tile:w_ptr"),
        ("load", "conv_kernel:b_ptr"),
        ("store", "conv_kernel:out_ptr"),
    }
    if row.target.backend == "cuda":
        assert places >= MAIN_LOOP
        found = {a.bytes for a in row.compiled.facts.accesses if a.kind == "load"}
        assert found == set(row.compiled.facts.loads)  # PTX and SASS agree


def test_a_register_limit_is_kept(stem_rows, pool):
    row = stem_rows["sm_80", "conv"]
    limit = row.compiled.facts.registers - 8
    limited = dataclasses.replace(row.instance, registers=limit)
    assert limited.name == f"{row.instance.name} r{limit}"
    ((_, compiled),) = pool.map(compile_instance, [limited])
    assert not isinstance(compiled, KernelError), compiled
    assert compiled.facts.registers <= limit < row.compiled.facts.registers


def test_texts(row):
    nvidia = {"ttir", "ttgir", "llir", "ptx", "sass"}
    amd = {"ttir", "ttgir", "llir", "amdgcn"}
    assert set(row.compiled.texts) == (nvidia if row.target.backend == "cuda" else amd)
    assert "tt.dot" in row.compiled.texts["ttir"]


def test_amd_has_counts_of_its_own(stem_rows):
    extra = stem_rows["gfx942", "conv"].compiled.facts.extra
    assert extra["sgpr_count"] > 0
    assert extra["vgpr_spill_count"] == 0
