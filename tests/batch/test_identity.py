"""Two models have one identity where they make the same rows."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file

from r2n_kernels import create_model
from r2n_kernels.batch import identity
from r2n_kernels.bundle.file import BundleFile
from r2n_kernels.weights.files import sha256_of

from .conftest import ASSETS


def test_what_is_the_same_and_what_is_not(digits, tmp_path):
    first = identity(create_model(digits, pretrained=True))
    assert json.loads(json.dumps(first)) == first
    assert first["backend"] == "openvino"
    assert first["preprocessing"]["input_size"] == [1, 32, 32]
    assert first == identity(create_model(digits, pretrained=True))
    # another file with the same weights is no other model; one weight less is
    weights = load_file(ASSETS / "model.safetensors")
    save_file(weights, tmp_path / "same.safetensors", {"made": "again"})
    assert first == identity(create_model(digits, checkpoint=str(tmp_path / "same.safetensors")))
    weights["fc.bias"] = torch.nextafter(weights["fc.bias"], torch.tensor(1e9))
    save_file(weights, tmp_path / "other.safetensors")
    other = identity(create_model(digits, checkpoint=str(tmp_path / "other.safetensors")))
    assert [key for key in first if first[key] != other[key]] == ["weights"]
    narrow = identity(create_model(digits, pretrained=True, dtype=torch.bfloat16))
    assert [key for key in first if first[key] != narrow[key]] == ["dtype"]


def test_a_bundle_is_its_file(small_bundle):
    told = {"img_size": 64, "interpolation": "bilinear", "crop_pct": 0.9}
    found = identity(create_model(small_bundle, backend="ptx:sm_80"), told)
    assert found["preprocessing"]["input_size"] == [3, 64, 64]
    assert found["bundle"] == sha256_of(small_bundle)
    assert found["backend"] == "bundle"
    has_weights = BundleFile(small_bundle).manifest.get("weights") is not None
    assert ("weights" in found) != has_weights
