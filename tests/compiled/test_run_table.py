from __future__ import annotations

import json

import pytest

from r2n_kernels.compiled.run import execute, units
from r2n_kernels.compiled.run_table import conflicts, efficiency, macs, record, table, unique_bytes
from r2n_kernels.compiled.trial import How
from r2n_kernels.emulator import Counters, GlobalTraffic, SharedTraffic


@pytest.fixture(scope="module")
def results(request_for, pool, rows):
    wanted = [rows["maxpool"], rows["layer1.0.conv1"]]
    return execute(units([request_for()], wanted, How()), pool)


def test_a_line_an_instance_and_the_verdict(results):
    lines = table(results).splitlines()
    assert lines[0] == "sm_90, executed"
    assert lines[1].split()[:4] == ["kernel", "first", "step", "geometry"]
    assert lines[2].split()[:2] == ["maxpool", "maxpool"]
    assert lines[3].split()[:2] == ["conv1", "layer1.0.conv1"]
    assert lines[4] == "sm_90: no fault"


def test_what_cannot_run_is_a_fault(results):
    unit, trial, _ = results[1]
    lines = table([results[0], (unit, trial, "instruction nanosleep")]).splitlines()
    assert lines[3].endswith("does not run")
    assert lines[4] == "sm_90: 1 lines of faults"
    assert lines[5].endswith("instruction nanosleep")
    assert record((unit, trial, "instruction nanosleep"))["error"] == "instruction nanosleep"


def test_record_is_json_with_every_counter(results):
    found = json.loads(json.dumps(record(results[1])))
    assert (found["target"], found["step"], found["batch"]) == ("sm_90", "layer1.0.conv1", 2)
    assert found["passed"] is True
    assert found["macs"] == results[1][2].counters.macs > 0
    assert found["relative_error"] <= found["limit"]
    assert found["global"]["st"]["efficiency"] > 0
    assert found["unique_bytes"]["x_ptr"][1] == 0
    assert found["instructions"]
    assert found["shared"]["ldmatrix"]["wavefronts"] > 0


def test_shares_by_hand():
    counters = Counters(macs=0)
    counters.instructions["fma.rn.f32"] = 3
    assert macs(counters) == 96
    counters.macs = 7
    assert macs(counters) == 7
    counters.global_["ld"] = GlobalTraffic(requests=1, bytes=64, useful=64, sectors=4)
    counters.global_["cp.async"] = GlobalTraffic(requests=1, bytes=64, useful=32, sectors=2)
    assert efficiency(counters, ("ld", "cp.async")) == 0.5
    assert efficiency(counters, ("st",)) == 1.0
    assert conflicts(counters) == 0.0
    counters.shared["ld"] = SharedTraffic(requests=1, bytes=128, wavefronts=4, conflicts=3)
    assert conflicts(counters) == 0.75
    counters.unique = {0: (10, 0), 2: (0, 4)}
    assert unique_bytes(counters) == 14
