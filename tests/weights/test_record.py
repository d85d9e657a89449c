"""Where weights came from, and on what terms."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.weights import Weights, record
from r2n_kernels.weights.record import NOT_STATED, UNCLEAR, hash_tensors, license_of


@pytest.mark.parametrize(
    ("config", "repo", "expected"),
    [
        (None, None, NOT_STATED),
        ({}, "me/mine", NOT_STATED),
        (None, "timm/res2next50.in1k", UNCLEAR),
        ({"license": "unknown"}, None, UNCLEAR),  # the flat format
        ({"pretrained_cfg": {"license": "unknown"}}, "timm/res2net50d.in1k", UNCLEAR),
        ({"pretrained_cfg": {"license": "apache-2.0"}}, "timm/res2net50d.in1k", "apache-2.0"),
        ({"pretrained_cfg": None, "license": "mit"}, None, "mit"),
        ({"license": "a\n\x1b[2J"}, None, r"a\n\x1b[2J"),
        ({"license": ["x"] * 999}, None, str(["x"] * 999)[:200]),
    ],
)
def test_license(config, repo, expected):
    assert license_of(config, repo) == expected


def test_description_is_one_line():
    digest = "0123" * 16
    weights = Weights({}, "a\nb.pth", digest, "m\x1b[2Jit", notes=("one", "t\r\u2028wo"))
    line = r"weights from a\nb.pth, sha256 012301230123, licence m\x1b[2Jit; one; t\r\u2028wo"
    assert weights.describe() == str(weights) == line


def test_tensors_are_hashed_when_asked_for_and_once(monkeypatch):
    calls = []
    monkeypatch.setattr(record, "hash_tensors", lambda state: calls.append(state) or "ab" * 32)
    weights = Weights({"a": torch.zeros(2)}, "memory", None)
    assert not calls
    assert weights.sha256 == weights.sha256 == "ab" * 32
    assert calls == [weights.state]
    assert Weights(weights.state, "file", "cd" * 32).sha256 == "cd" * 32
    assert len(calls) == 1


def test_hash_covers_names_types_shapes_and_values():
    states = [
        {"a": torch.zeros(2)},
        {"b": torch.zeros(2)},
        {"a": torch.zeros(2, dtype=torch.int32)},
        {"a": torch.zeros(2, 1)},
        {"a": torch.ones(2)},
        {"a": torch.tensor(0)},
        {"a": torch.zeros(2, dtype=torch.bfloat16)},
    ]
    assert len({hash_tensors(state) for state in states}) == len(states)
    base = torch.arange(6.0).reshape(2, 3)
    assert hash_tensors({"a": base.t()}) == hash_tensors({"a": base.t().contiguous()})
