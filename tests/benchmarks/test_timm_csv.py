from __future__ import annotations

import csv
import io

import pytest

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks.timm_csv import timm_csv, timm_row
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.measure.timing import Samples
from r2n_kernels.plan import build_plan

PLAN = build_plan(VARIANTS[HEADLINE], 8, 224, 224)
EAGER = Samples("eager", ((0.4, 0.4), (0.8, 0.8)))
OURS = Samples("ours", ((0.2, 0.2), (0.4, 0.4)))


def test_timms_columns():
    """As in results/benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv."""
    rows = [timm_row(HEADLINE, samples, PLAN) for samples in (EAGER, OURS)]
    rows[0]["infer_batch_size"] = 4  # a case of its own
    text = timm_csv(rows)
    assert text.splitlines()[0] == (
        "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,"
        "param_count,infer_gmacs,infer_macts"
    )
    fast, slow = csv.DictReader(io.StringIO(text))
    assert fast == {
        "model": HEADLINE, "infer_img_size": "224", "infer_samples_per_sec": "26.67",
        "infer_step_time": "300.0", "infer_batch_size": "8", "param_count": "45.21",
        "infer_gmacs": "8.07", "infer_macts": "18.45",
    }  # fmt: skip
    assert slow["infer_samples_per_sec"] == "13.33"
    other = {**rows[1], "infer_batch_size": 1}
    both = timm_csv([other], text)  # the other cases of an older file stay
    assert [row["infer_batch_size"] for row in csv.DictReader(io.StringIO(both))] == ["8", "1", "4"]
    assert timm_csv(rows[1:], both) == both
    with pytest.raises(ConfigError, match="expected the columns model, infer_img_size"):
        timm_csv(rows, "a,b\n1,2\n")
    with pytest.raises(ConfigError, match="square images, got 64x96"):
        timm_row(HEADLINE, OURS, build_plan(VARIANTS[HEADLINE], 1, 64, 96))
