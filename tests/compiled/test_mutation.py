from __future__ import annotations

import pytest

from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.mutation import run_mutants
from r2n_kernels.compiled.run import Outcome, RunOptions, execute, work_of
from r2n_kernels.compiled.tables import mutation_record, mutation_table


@pytest.mark.slow
def test_no_mutant_of_a_stage_is_a_hole(request_for, pool, rows):
    row = rows["layer1.1.convs"]
    (outcome,) = execute(work_of([request_for()], [row], RunOptions()), pool, run_mutants)
    found = outcome.found
    verdicts = {mutant.verdict for mutant in found}
    assert verdicts <= {"reported", "harmless"}
    assert any(m.verdict == "reported" and m.findings.get("race") for m in found)
    assert any("stage.py:" in mutant.source for mutant in found)

    lines = mutation_table([outcome]).splitlines()
    assert lines[0] == f"sm_90  layer1.1.convs  {row.instance.name}"
    assert lines[-1].startswith(f"{len(found)} mutants: ")
    recorded = mutation_record(outcome)
    assert recorded["target"] == "sm_90"
    assert len(recorded["mutants"]) == len(found)
    assert recorded["mutants"][0]["change"] == found[0].change


@pytest.mark.slow
def test_without_its_barrier_the_stage_races(request_for, pool, cache):
    """The one of tl.debug_barrier, between two splits."""
    request = request_for(batch=500, target="sm_100")  # where chains stay in tiles
    rows = inspect([request], pool, cache=cache, kernel="stage_chained")
    source = rows[0].compiled.texts["ttir"]
    assert "ttg.barrier" in source
    for outcome in execute(work_of([request], rows, RunOptions()), pool, run_mutants):
        between = [
            m for m in outcome.found if m.change == "no bar.sync" and "device.py" not in m.source
        ]
        assert "reported" in {mutant.verdict for mutant in between}
        assert not any(mutant.verdict == "HOLE" for mutant in outcome.found)


def test_a_kernel_that_cannot_run_is_an_error(request_for, rows):
    (work,) = work_of([request_for()], [rows["fc"]], RunOptions())
    outcome = Outcome(work.request, work.options, *work.executables, None, "no")
    assert "does not run: no" in mutation_table([outcome])
    assert mutation_record(outcome)["error"] == "no"
