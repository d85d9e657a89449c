from __future__ import annotations

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.proof.parity import check_parity, eager_model
from r2n_kernels.reference import Res2Net

# Each structure once; the others differ from these in widths alone.
STRUCTURES = ("res2net50_14w_8s", "res2net50d", "res2next50")
SMALL = Res2NetConfig(layers=(1, 2, 1, 1), planes=(9, 14, 20, 33), num_classes=7)
X = torch.randn(2, 3, 65, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_right_network_passes_and_eager_is_left_as_it_was(dtype, randomize):
    eager = randomize(Res2Net(SMALL)).eval()
    before = {k: v.clone() for k, v in eager.state_dict().items()}
    rows = check_parity(eager, X, dtype, backend="torch", device="cpu")
    assert [row.verdict.name for row in rows] == [
        *(f"feature {i}" for i in range(5)), "embedding", "logits",
    ]  # fmt: skip
    assert all(row.verdict.passed for row in rows), rows
    after = eager.state_dict()
    assert all(after[k].dtype == v.dtype for k, v in before.items())
    if dtype == torch.float32:
        assert all(torch.equal(after[k], v) for k, v in before.items())


def test_a_wrong_network_fails(randomize, monkeypatch):
    eager = randomize(Res2Net(SMALL)).eval()
    monkeypatch.setattr("r2n_kernels.fold.batchnorm.BN_EPS", 1e-3)
    rows = check_parity(eager, X, torch.float32, backend="torch", device="cpu")
    assert not any(row.verdict.passed for row in rows)


@pytest.mark.parametrize("name", ["res2net50d", "res2next50"])
def test_timm_and_the_reference_get_the_same_seeded_weights(name):
    pytest.importorskip("timm")
    ours, peer = (
        eager_model(name, against, seed=4).state_dict() for against in ("reference", "timm")
    )
    assert all(torch.equal(ours[k], peer[k]) for k in peer)


def test_unknown_or_missing_peers_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="expected one of timm, reference"):
        eager_model("res2net50d", "onnx")
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ConfigError, match="parity against timm needs timm: pip install"):
        eager_model("res2net50d", "timm")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in STRUCTURES else pytest.mark.weekly)
        for n in VARIANTS
    ],
)
def test_every_variant_passes_the_rule(name):
    """In bfloat16; tests/model/test_res2net.py holds float32 to timm."""
    eager = eager_model(name, "timm")
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    rows = check_parity(eager, x, torch.bfloat16, backend="auto", device="cpu")
    assert all(row.verdict.passed for row in rows), rows
