"""Plans as JSON has them, and back."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from r2n_kernels.bundle.codec import decode_plan, encode_plan
from r2n_kernels.config import HEADLINE as NAME
from r2n_kernels.config import VARIANTS
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan

HALF, HEADLINE = torch.float16, VARIANTS[NAME]


def plan_of(config, schedule="auto", batch=2, size=(224, 224), dtype=HALF):
    return build_plan(
        config, batch, *size, dtype, "triton", target=TARGETS["sm_90"], schedule=schedule
    )


def again(plan):
    return decode_plan(json.loads(json.dumps(encode_plan(plan))), plan.config, plan.dtype)


@pytest.mark.parametrize("schedule", ["throughput", "latency"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_plan_comes_back(name, schedule):
    plan = plan_of(VARIANTS[name], schedule)
    assert again(plan) == plan


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_dtypes_sizes_and_heads(dtype):
    plan = plan_of(HEADLINE.replace(num_classes=0), batch=5, size=(97, 131), dtype=dtype)
    found = again(plan)
    assert found == plan
    assert found.workspace_bytes == plan.workspace_bytes


@pytest.fixture(scope="module")
def data():
    return json.loads(json.dumps(encode_plan(plan_of(HEADLINE))))


def test_another_dtype_is_refused(data):
    with pytest.raises(ValueError, match="buffer input: 2 bytes an element"):
        decode_plan(data, HEADLINE, torch.float32)


@pytest.mark.parametrize(
    ("way", "value", "error", "match"),
    [
        (("batch",), -1, ValueError, "expected no negative number, got -1"),
        (("height",), "224", TypeError, "expected a whole number, got '224'"),
        (("width",), True, TypeError, "expected a whole number, got True"),
        (("backend",), 3, TypeError, "expected a name, got 3"),
        (("features",), "stem", TypeError, "expected names, got 'stem'"),
        (("features", 0), None, TypeError, "expected a name, got None"),
        (("buffers", 0, 1, 0), 1.5, TypeError, r"expected a whole number, got 1\.5"),
        (("buffers", 0, 3), 0, TypeError, "planes is 0"),
        (("buffers", 0), [], TypeError, "missing 4 required"),
        (("steps",), None, TypeError, "not iterable"),
        (("steps", 1, "convs", 0, 6), 0, ValueError, "a convolution of "),
        (("steps", 1, "convs", 0, 0), -2, ValueError, "expected no negative number"),
        (("steps", 1, "moved", 0, 1), None, TypeError, "expected a whole number"),
        (("steps", 1, "executed_macs"), float("inf"), TypeError, "expected a whole number"),
        (("steps", 1, "options", "tile"), {"tile": [0] * 6}, ValueError, "block_m must be"),
        (("steps", 1, "options", "tile"), {"plane": [1]}, KeyError, "plane"),
        (("steps", 1, "options", "tile"), {}, ValueError, "not enough values"),
        (("steps", 1, "options", "stride"), "2", TypeError, "an option is '2'"),
        (("steps", 1, "options", "stride"), [], TypeError, r"an option is \[\]"),
        (("steps", 1, "op"), None, TypeError, "expected a name, got None"),
        (("steps", 1, "reads"), "image", TypeError, "expected names, got 'image'"),
    ],
)
def test_what_is_no_plan(way, value, error, match, data):
    data = copy.deepcopy(data)
    *path, last = way
    around = data
    for key in path:
        around = around[key]
    around[last] = value
    with pytest.raises(error, match=match):
        decode_plan(data, HEADLINE, HALF)


@pytest.mark.parametrize("key", ["batch", "backend", "features", "buffers", "steps"])
def test_a_missing_key(key, data):
    with pytest.raises(KeyError, match=key):
        decode_plan({k: v for k, v in data.items() if k != key}, HEADLINE, HALF)
