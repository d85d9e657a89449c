"""The headline's bundle, for one image on sm_90: built and proven, with no weights in it.

All its layers, at a size that shows every step at work. At 224 px test_headline_runs.py executes
the same code step by step, test_triton_variants.py the same plan from end to end, and
test_network.py its blocks, fewer and smaller, both at once.
"""

from __future__ import annotations

import pytest

from r2n_kernels.bundle import open_bundle
from r2n_kernels.cli import main

pytestmark = [pytest.mark.weekly, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("size", [96, 224])
def test_the_headlines_bundle_is_proven(size, tmp_path, capsys):
    path = str(tmp_path / "headline.r2n")
    words = ["--no-weights", "--target", "sm_90", "--batch", "1", "--size", str(size)]
    assert main(["build", "res2net101_26w_4s", *words, "--no-cache", "-o", path]) == 0
    bundle = open_bundle(path)
    proof = bundle.proof()
    assert proof["passed"]
    assert proof["codes"].keys() == bundle.manifest.codes.keys()
    (network,) = proof["networks"]
    assert (network["shape"], network["against"]) == (f"sm_90 b1 {size}x{size}", "reference")
    assert len(network["outputs"]) == 7  # five maps, the embedding, the logits
    assert "sm_90" in capsys.readouterr().out
