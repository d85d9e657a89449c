"""The headline's bundle, for one image on sm_90: built and proven, with no weights in it.

Weekly. Beside it CI runs the same code step by step (test_headline_runs.py), the same plan from end
to end in the interpreter (test_triton_variants.py), and the compiled code of two blocks a stage
from end to end (test_network.py).
"""

from __future__ import annotations

import pytest

from r2n_kernels.bundle import open_bundle
from r2n_kernels.cli import main

pytestmark = [pytest.mark.weekly, pytest.mark.timeout(1200)]


def test_the_headlines_bundle_is_proven(tmp_path, capsys):
    path = str(tmp_path / "headline.r2n")
    words = ["--no-weights", "--target", "sm_90", "--batch", "1"]
    assert main(["build", "res2net101_26w_4s", *words, "--no-cache", "-o", path]) == 0
    bundle = open_bundle(path)
    proof = bundle.proof()
    assert proof["passed"]
    assert proof["codes"].keys() == bundle.manifest.codes.keys()
    (network,) = proof["networks"]
    assert (network["shape"], network["against"]) == ("sm_90 b1 224x224", "reference")
    assert len(network["outputs"]) == 7  # five maps, the embedding, the logits
    assert "sm_90" in capsys.readouterr().out
