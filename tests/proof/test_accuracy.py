from __future__ import annotations

import math

import pytest
import torch

from r2n_kernels.proof.accuracy import MAX_DIFFERING, Tally, compared, judged, wilson

LOGITS = torch.tensor([0.5, 3.0, 2.0, -1.0])


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.27754),
        (10, 10, 0.72246, 1.0),
        (81, 263, 0.25527, 0.36621),  # of Newcombe's comparison of intervals, 1998
        (15, 148, 0.06238, 0.16050),
    ],
)
def test_wilson(hits, total, low, high):
    assert wilson(hits, total) == pytest.approx((low, high), abs=2e-5)


def test_judged():
    assert judged(LOGITS, 1, 2) == {"correct": True, "in_topk": True, "finite": True}
    assert judged(LOGITS, 2, 2) == {"correct": False, "in_topk": True, "finite": True}
    assert judged(LOGITS, 0, 2) == {"correct": False, "in_topk": False, "finite": True}


def test_logits_that_are_no_numbers_are_wrong():
    broken = LOGITS.clone()
    broken[1] = math.nan
    assert judged(broken, 1, 4) == {"correct": False, "in_topk": False, "finite": False}


def row(path="a", error=None, target=1, logits=LOGITS, theirs=None, truth=None):
    if error is not None:
        return {"path": path, "error": error, "topk": []}
    more = judged(logits, target, 2)
    if theirs is not None:
        more |= compared(logits, ([theirs], truth if truth is not None else theirs.double()))
    top = [{"index": int(i)} for i in logits.topk(2).indices] if more["finite"] else []
    return {"path": path, "error": None, "topk": top, **more}


def tally(*rows, dtype=torch.float32) -> Tally:
    found = Tally(dtype)
    for one in rows:
        found.add(one)
    return found


def test_failed_images_count_as_neither():
    found = tally(row(), row(target=2), row("b", error="broken"), row("c", error="no"))
    assert (found.counted, found.failed, found.top1, found.topk) == (2, 2, 1, 2)
    assert found.first_error == "b: broken"
    summary = found.summary()
    assert (summary["images"], summary["top1"]["share"], summary["topk"]["share"]) == (4, 0.5, 1.0)
    assert "timm" not in summary


def test_agreement():
    near = LOGITS + 1e-6
    found = tally(*(row(str(n), theirs=near) for n in range(3)))
    assert (found.compared, found.agreed, found.differing) == (3, 3, [])
    assert found.verdict.passed
    assert found.verdict.error == pytest.approx(1e-6 / 3, rel=0.2)


def test_a_difference_beyond_the_rule_fails_wherever_it_is():
    far = LOGITS * torch.tensor([1.0, 1.001, 1.0, 1.0])
    found = tally(row(theirs=LOGITS), row(theirs=far), row(theirs=LOGITS))
    assert found.agreed == 3
    assert not found.verdict.passed
    # In half precision timm itself is as far away, and ours may be twice as far.
    half = tally(row(theirs=far, truth=LOGITS.double() * 1.002), dtype=torch.bfloat16)
    assert half.verdict.passed


def test_what_differs_is_named_up_to_a_number():
    other = LOGITS.flip(0)
    found = tally(*(row(f"{n}", theirs=other) for n in range(MAX_DIFFERING + 5)))
    assert found.agreed == 0
    assert found.summary()["timm"]["differing"] == [str(n) for n in range(MAX_DIFFERING)]


def test_no_number_is_no_agreement():
    broken = torch.full((4,), math.nan)
    found = tally(row(theirs=LOGITS), row(logits=broken, theirs=LOGITS), row(theirs=LOGITS))
    assert not found.verdict.passed
    assert found.agreed == 2
    assert found.summary()["timm"]["error"] is None
