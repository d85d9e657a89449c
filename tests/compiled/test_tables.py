"""What inspections and runs showed, as text and as JSON; mutations are in test_mutation.py."""

from __future__ import annotations

import dataclasses
import json

import pytest

from r2n_kernels.compiled.run import RunOptions, execute, run_work, work_of
from r2n_kernels.compiled.tables import (
    inspection_record,
    inspection_table,
    run_record,
    run_table,
)


@pytest.fixture(scope="module")
def outcomes(request_for, pool, rows):
    wanted = [rows["maxpool"], rows["layer1.0.conv1"]]
    return execute(work_of([request_for()], wanted, RunOptions()), pool, run_work)


def test_a_line_an_instance_and_the_verdict(outcomes):
    lines = run_table(outcomes).splitlines()
    assert lines[0] == "sm_90, executed"
    assert lines[1].split()[:4] == ["kernel", "first", "step", "geometry"]
    assert lines[2].split()[:2] == ["maxpool", "maxpool"]
    assert lines[3].split()[:2] == ["conv1", "layer1.0.conv1"]
    assert lines[4] == "sm_90: no fault"


def test_what_cannot_run_is_a_fault(outcomes):
    failed = dataclasses.replace(outcomes[1], found=None, error="instruction nanosleep")
    lines = run_table([outcomes[0], failed]).splitlines()
    assert lines[3].endswith("does not run")
    assert lines[4] == "sm_90: 1 lines of faults"
    assert lines[5].endswith("instruction nanosleep")
    assert run_record(failed)["error"] == "instruction nanosleep"


def test_record_is_json_with_every_counter(outcomes):
    found = json.loads(json.dumps(run_record(outcomes[1])))
    assert (found["target"], found["step"], found["batch"]) == ("sm_90", "layer1.0.conv1", 2)
    assert found["passed"] is True
    assert found["macs"] == outcomes[1].found.counters.macs > 0
    assert found["relative_error"] <= found["limit"]
    assert found["global"]["st"]["efficiency"] > 0
    assert found["unique_bytes"]["x_ptr"][1] == 0
    assert found["instructions"]
    assert found["shared"]["ldmatrix"]["wavefronts"] > 0


def test_inspections(stem_rows):
    row = stem_rows["sm_80", "conv"]
    lines = inspection_table(list(stem_rows.values())).splitlines()
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


def test_record_of_an_inspection_is_json_with_everything(stem_rows):
    for row in stem_rows.values():
        found = json.loads(json.dumps(inspection_record(row)))
        assert found["target"] == row.instance.target
        assert found["registers"] == row.compiled.facts.registers
        assert found["uses"] == [
            {"batch": 2, "steps": ["conv1"], "launches": 1, "grid": row.sites[0].grid}
        ]
        assert found["constants"]["STRIDE"] == 2
        assert found["occupancy"]["ctas"] >= 1
        assert found["accesses"][0]["pointer"]
