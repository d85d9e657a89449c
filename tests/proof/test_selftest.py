from __future__ import annotations

import pytest

from r2n_kernels.proof.checks import Outcome
from r2n_kernels.proof.selftest import Check, run_checks


def crash():
    raise RuntimeError("an illegal memory access\n  was encountered")


def test_a_crash_is_a_failure_and_the_rest_goes_on():
    checks = [
        Check("good", lambda: Outcome.of(True, "error 1", error=1.0)),
        Check("bad", lambda: Outcome.of(False, "error 9")),
        Check("crash", crash),
        Check("last", lambda: Outcome("skipped", "no reason")),
    ]
    results = list(run_checks(checks))
    assert [result.outcome.status for result in results] == ["ok", "FAIL", "FAIL", "skipped"]
    assert [result.failed for result in results] == [False, True, True, False]
    assert results[2].outcome.detail == "RuntimeError: an illegal memory access was encountered"
    assert results[0].as_json() == {
        "check": "good", "status": "ok", "detail": "error 1", "figures": {"error": 1.0},
    }  # fmt: skip
    assert str(results[1]).split() == ["bad", "error", "9", "FAIL"]


def test_a_stop_is_a_stop():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_checks([Check("stopped", stop)]))
