"""What a bundle says of itself: read back as it was written, and refused where it cannot be."""

from __future__ import annotations

import copy
import json

import pytest

from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.manifest import Code, Manifest, Shape
from r2n_kernels.kernels.targets import TARGETS

from .handmade import CFG, CONFIG
from .handmade import TARGETS as MADE_FOR


@pytest.fixture(scope="module")
def bundle(small_bundle):
    return open_bundle(small_bundle)


@pytest.fixture
def data(bundle):
    return copy.deepcopy(json.loads(json.dumps(bundle.manifest.encode())))


def test_it_comes_back(bundle, data):
    assert Manifest.decode(data) == bundle.manifest
    assert bundle.manifest.config == CONFIG
    assert bundle.manifest.pretrained_cfg == CFG
    assert bundle.manifest.targets == MADE_FOR
    assert bundle.manifest.made_with.keys() == {"r2n_kernels", "torch", "triton"}
    assert {*bundle.manifest.parts} <= bundle.file.names


def test_names_of_parts(bundle):
    code = next(iter(bundle.manifest.codes.values()))
    assert (code.cubin, code.ptx) == (f"code/{code.key}.cubin", f"code/{code.key}.ptx")
    shape = Shape("sm_90", 8, 224, 288)
    assert (shape.plan, shape.proof) == ("plan/sm_90 b8 224x288", "proof/sm_90 b8 224x288")


@pytest.mark.parametrize(
    ("way", "value", "error", "match"),
    [
        (("schema",), 2, ValueError, "schema 2, expected 1"),
        (("name",), None, TypeError, "expected a text, got None"),
        (("dtype",), "float64", KeyError, "float64"),
        (("made_with", "torch"), 2, TypeError, "expected a text, got 2"),
        (("config",), {}, ValueError, "parts of its config are missing: .*layers"),
        (("config", "layers"), [600, 600], ValueError, "a network of 1200 blocks"),
        (("config", "base_width"), 2**40, ValueError, r"a network of \d+ parameters"),
        (("config", "scale"), 0, ValueError, "scale must be at least 1"),
        (("config", "depth"), 3, TypeError, "unexpected keyword argument 'depth'"),
        (("shapes", 0, 1), 0, ValueError, "0 images of 33x40"),
        (("shapes", 0, 1), True, ValueError, "True images"),
        (("shapes", 0, 2), 2**32, ValueError, "2 images of 4294967296x40"),
        (("shapes", 0, 0), "gfx942", ValueError, "target 'gfx942'"),
        (("shapes", 0), ["sm_80"], TypeError, "missing 3 required"),
        (("shapes", 1), ["sm_80", 2, 33, 40], ValueError, "two of one"),
        (("shapes",), [], ValueError, "no shapes"),
        (("weights",), 3, TypeError, "not iterable"),
        (("weights", 0), None, TypeError, "expected a text"),
        (("pretrained_cfg",), [], AttributeError, "items"),
    ],
)
def test_what_cannot_be(way, value, error, match, data):
    *path, last = way
    around = data
    for key in path:
        around = around[key]
    around[last] = value
    with pytest.raises(error, match=match):
        Manifest.decode(data)


@pytest.mark.parametrize("key", ["schema", "name", "config", "dtype", "codes", "shapes", "weights"])
def test_a_missing_key(key, data):
    del data[key]
    with pytest.raises(KeyError, match=key):
        Manifest.decode(data)


GIVEN = {"key": "0", "entry": "a_kernel", "target": "sm_86", "warps": 4, "shared": 0,
         "registers": 32, "parameters": (("x", "u64"), ("", "u64"))}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"target": "gfx942"}, "target 'gfx942'"),
        ({"entry": ""}, "entry ''"),
        ({"entry": "a\0b"}, "entry "),
        ({"entry": None}, "entry None"),
        ({"warps": 3}, "3 warps per CTA"),
        ({"warps": 64}, "64 warps per CTA"),
        ({"warps": True}, "True warps per CTA"),
        ({"shared": -1}, "-1 bytes of shared memory, 101376 at most"),
        ({"shared": TARGETS["sm_86"].shared_bytes + 1}, "101377 bytes of shared memory"),
        ({"shared": 1.0}, r"1\.0 bytes of shared memory"),
        ({"registers": -1}, "-1 registers"),
        ({"parameters": (("x", "u16"),)}, "parameters .*u16"),
    ],
)
def test_absurd_code(changes, match):
    Code(**GIVEN)
    with pytest.raises(ValueError, match=match):
        Code(**{**GIVEN, **changes})
