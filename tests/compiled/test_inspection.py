from __future__ import annotations

import dataclasses
import json
import math

import pytest

from r2n_kernels.compiled import inspection
from r2n_kernels.compiled.inspect_table import record, table
from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.errors import ConfigError

from .conftest import stem_request


def changed(row, **facts):
    """The row, had it compiled to other facts."""
    compiled = row.compiled
    return dataclasses.replace(
        row,
        compiled=dataclasses.replace(compiled, facts=dataclasses.replace(compiled.facts, **facts)),
    )


def test_second_time_from_the_cache_without_compiling(stem_rows, pool, cache, monkeypatch):
    monkeypatch.setattr(inspection, "compile_instance", math.sqrt)  # would fail
    told = []
    (row,) = inspect(
        [stem_request("sm_80", schedule=s) for s in ("latency", "throughput")],
        pool, cache=cache, kernel="conv",
        started=told.append, done=lambda: told.append("done"),
    )  # fmt: skip
    assert told == [1, "done"]
    assert [use.batch for use in row.uses] == [2, 2]  # one instance serves both
    before = stem_rows["sm_80", "conv"]
    assert (before.cached, row.cached) == (False, True)
    assert row.compiled == before.compiled


def test_failure_is_a_row_of_its_own(stem_rows, pool, cache, monkeypatch):
    monkeypatch.setattr(inspection, "compile_instance", math.sqrt)
    found = inspect([stem_request("sm_80")], pool, cache=cache, kernel="c*")
    ours = {row.step: row for row in found}
    assert ours["conv1"].compiled == stem_rows["sm_80", "conv"].compiled
    failed = ours["layer1.0.conv1"]
    assert failed.compiled is None
    assert failed.error.startswith("TypeError: must be real number, not Instance")
    assert failed.faults == (f"does not compile: {failed.error}",)
    shown = table(found)
    assert "does not compile" in shown
    assert f"{failed.name}: does not compile: TypeError" in shown
    assert record(failed)["error"] == failed.error


def test_no_kernel_of_that_name(pool):
    with pytest.raises(ConfigError, match="no kernel matches 'convolution'; there are conv, conv1"):
        inspect([stem_request("sm_80")], pool, kernel="convolution")


def test_no_plan(pool):
    with pytest.raises(ConfigError, match="sm_80, batch 2: ConfigError: images must be at least"):
        inspect([stem_request("sm_80", height=8)], pool)


class TestFaults:
    @pytest.mark.parametrize(
        ("facts", "fault"),
        [
            ({"spill": 8}, "spills: 8 bytes a thread, 0 instructions"),
            ({"extra": {"LDL": 2, "STL": 1}}, "spills: 0 bytes a thread, 3 instructions"),
            ({"shared": 163 * 1024 + 1}, "shared memory: 166913 bytes, 166912 a CTA at most"),
            ({"tensor_cores": {}}, "no tensor-core instruction"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_known(self, stem_rows, facts, fault):
        row = changed(stem_rows["sm_80", "conv"], **facts)
        assert row.faults == (fault,)
        shown = table([row])
        assert f"sm_80: 1 faults\n  {row.name}: {fault}" in shown

    def test_float32_needs_no_tensor_core(self, stem_rows):
        row = changed(stem_rows["sm_80", "conv"], tensor_cores={})
        signature = tuple((n, t.replace("*fp16", "*fp32")) for n, t in row.instance.signature)
        instance = dataclasses.replace(row.instance, signature=signature)
        assert dataclasses.replace(row, instance=instance).faults == ()


def test_table(stem_rows):
    row = stem_rows["sm_80", "conv"]
    lines = table(list(stem_rows.values())).splitlines()
    assert lines[0] == "sm_80 (A100)"
    assert lines[1].split()[:5] == ["kernel", "first", "step", "geometry", "tile"]
    facts, cells = row.compiled.facts, lines[2].split()
    assert cells[:4] == ["conv", "conv1", "32x32", "32->64"]
    assert str(facts.registers) in cells
    assert str(facts.shared) in cells
    assert lines[3].startswith("sm_80: 1 instances for 1 launches, 0 failed, 0 from the cache;")
    assert lines[4] == "sm_80: no fault"
    assert "of conv_kernel:b_ptr (conv.py:" in lines[6]
    assert [line for line in lines if line.startswith("gfx942 (")] == ["gfx942 (MI300X)"]


def test_record_is_json_with_everything(stem_rows):
    for row in stem_rows.values():
        found = json.loads(json.dumps(record(row)))
        assert found["target"] == row.instance.target
        assert found["registers"] == row.compiled.facts.registers
        assert found["uses"] == [
            {"batch": 2, "steps": ["conv1"], "launches": 1, "grid": row.uses[0].grid}
        ]
        assert found["constants"]["STRIDE"] == 2
        assert found["occupancy"]["ctas"] == row.occupancy.ctas
        assert found["accesses"][0]["pointer"]
