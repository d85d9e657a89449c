from __future__ import annotations

import pytest

from r2n_kernels.compiled.mutation import run_mutants
from r2n_kernels.compiled.mutation_table import record, table
from r2n_kernels.compiled.run import execute, units
from r2n_kernels.compiled.trial import How


@pytest.mark.slow
def test_no_mutant_of_a_stage_is_a_hole(request_for, pool, rows):
    row = rows["layer1.1.convs"]
    results = execute(units([request_for()], [row], How()), pool, run_mutants)
    ((unit, trial, found),) = results
    verdicts = {mutant.verdict for mutant in found}
    assert verdicts <= {"reported", "harmless"}
    assert any(m.verdict == "reported" and m.findings.get("race") for m in found)
    assert any("stage.py:" in mutant.source for mutant in found)

    lines = table(results).splitlines()
    assert lines[0] == f"sm_90  layer1.1.convs  {trial.instance.name}"
    assert lines[-1].startswith(f"{len(found)} mutants: ")
    recorded = record(results[0])
    assert recorded["target"] == unit.request.target
    assert len(recorded["mutants"]) == len(found)
    assert recorded["mutants"][0]["change"] == found[0].change


def test_without_its_barrier_the_stage_races(request_for, pool, cache):
    """The one of tl.debug_barrier, between two splits."""
    from r2n_kernels.compiled.inspection import inspect

    request = request_for(batch=500)
    rows = inspect([request], pool, cache=cache, kernel="stage_chained")
    source = rows[0].compiled.texts["ttir"]
    assert "ttg.barrier" in source
    for _, _, found in execute(units([request], rows, How()), pool, run_mutants):
        between = [m for m in found if m.change == "no bar.sync" and "device.py" not in m.source]
        assert "reported" in {mutant.verdict for mutant in between}
        assert not any(mutant.verdict == "HOLE" for mutant in found)


def test_a_kernel_that_cannot_run_is_an_error(request_for):
    trial = type("Trial", (), {"step": "fc", "instance": type("I", (), {"name": "linear"})})
    unit = type("Unit", (), {"request": request_for()})
    assert "does not run: no" in table([(unit, trial, "no")])
    assert record((unit, trial, "no"))["error"] == "no"
