from __future__ import annotations

import json
import math

import pytest
import torch

from r2n_kernels.proof.accuracy import PEER_FIELDS, Share, Tally, facts, worse
from r2n_kernels.results import Row


@pytest.mark.parametrize(("count", "total"), [(10, 10), (0, 10), (5, 10), (799, 1000)])
def test_wilson(count, total):
    """At the ends, what was counted is 1.96 standard deviations off, or nothing is."""
    for end, sign in zip(Share(count, total).interval, (1, -1), strict=True):
        deviation = math.sqrt(end * (1 - end) / total)
        assert sign * (count / total - end) == pytest.approx(1.959964 * deviation, abs=1e-7)


def test_wilson_of_ten():
    assert Share(5, 10).interval == pytest.approx((0.2366, 0.7634), abs=5e-5)


def test_share_of_nothing():
    nothing = Share(0, 0)
    assert math.isnan(nothing.value)
    assert json.loads(json.dumps(nothing.record(), allow_nan=False))["interval"] == [0, 1]


def test_facts():
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0, -2.0])
    assert facts("b", 1, logits) == {"label": "b", "target": 1, "correct": True, "in_top5": True}
    assert (facts("e", 4, logits)["correct"], facts("e", 4, logits)["in_top5"]) == (False, True)
    assert facts("f", 5, logits)["in_top5"] is False
    assert facts("f", 5)["correct"] is facts(None, None, logits)["correct"] is None


def row(path: str, ours: int, timm: int, error: float | None, target: int = 1) -> Row:
    logits = torch.zeros(9).index_fill(0, torch.tensor(ours), 1)
    more = dict(zip(PEER_FIELDS, (timm, error, error, 1e-6), strict=True))
    return Row(path, None, [(ours, None, 0.5)], facts(target, target, logits) | more)


def tally(*rows: Row, dtype: torch.dtype | None = torch.float32) -> Tally:
    found = Tally(dtype)
    for one in rows:
        found.add(one)
    return found


def test_within_the_rule():
    found = tally(row("a", 1, 1, 9e-6), row("b", 2, 1, 1e-6))
    assert (found.top1, found.timm_top1, found.agreed) == (1, 2, 1)
    assert found.differing == [{"path": "b", "ours": 2, "timm": 1, "target": 1}]
    assert (found.objections(), found.beyond) == ([], [])
    assert found.objections(0.5) == []
    assert found.objections(0.6) == ["top-1 50.00% is below 60.00%"]


def test_beyond_the_rule():
    """None stands for NaN, which is the farthest."""
    found = tally(row("a", 1, 1, 1e-6), row("b", 1, 1, 2e-5), row("c", 1, 1, None))
    (why,) = found.objections()
    assert why == "logits differ by nan, the limit is 1.0e-05"
    assert found.beyond == ["c", "b"]
    record = json.loads(json.dumps(found.record(), allow_nan=False))["agreement"]
    assert (record["passed"], record["our_error"]) == (False, None)
    assert record["beyond_limit"] == ["c", "b"]
    assert tally(row("b", 1, 1, 2e-5)).objections() == [
        "logits differ by 2.0e-05, the limit is 1.0e-05"
    ]


def test_counted_apart():
    rows = [
        Row("gone", "no such file", (), facts("ant", 0)),
        Row("bare", "no such file", (), facts(None)),
        Row("odd", "label 'x' is no class", (), facts("x")),
        Row("none", None, [(0, None, 1.0)], facts(None, None, torch.ones(3))),
    ]
    found = tally(*rows, dtype=None)
    counts = (found.failed, found.mislabelled, found.unlabelled, found.labelled)
    assert counts == (2, 1, 1, 0)
    assert "agreement" not in found.record()


def test_worse():
    assert worse(1.0, 2.0) == worse(2.0, 1.0) == 2.0
    assert math.isnan(worse(math.nan, 1.0))
    assert math.isnan(worse(1.0, math.nan))
