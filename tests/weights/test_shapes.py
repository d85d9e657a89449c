"""Configurations read off shapes."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.config import VARIANTS
from r2n_kernels.errors import ConfigError
from r2n_kernels.weights.shapes import config_from_state, expected_shapes, meta_network

from ..conftest import within_cpu


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name):
    assert config_from_state(meta_network(VARIANTS[name]).state_dict()) == VARIANTS[name]


def test_shapes_are_reproduced(config):
    found = config_from_state(meta_network(config).state_dict())
    assert expected_shapes(found) == expected_shapes(config)
    assert found.base_width <= config.base_width
    assert found.replace(base_width=config.base_width, stem_width=config.stem_width) == config


def test_other_depths_and_stages(tiny):
    config = tiny.replace(layers=(2, 3), planes=(64, 96), base_width=26)
    assert config_from_state(meta_network(config).state_dict()) == config


@pytest.fixture
def state(tiny):
    return meta_network(tiny.replace(layers=(2, 1, 1, 1))).state_dict()


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("conv1.weight", (32, 3, 7, 7), r"a plain stem has 64 channels"),
        ("conv1.weight", (64, 3, 3, 3), r"conv1.weight is \(64, 3, 3, 3\), expected \(64, 3, 7, 7"),
        ("layer1.0.convs.0.weight", (4,), r"has shape \(4,\), expected rank 4"),
        ("layer1.0.convs.0.weight", (4, 3, 3, 3), r"has 4 channels, not a multiple of 3"),
        ("layer1.0.convs.0.weight", (5, 5, 3, 3), r"has 16 channels, not a multiple of 5"),
        ("layer2.0.convs.0.weight", (4, 4, 3, 3), r"one scale and one cardinality .*\[4, 8\]"),
        ("layer1.0.se.weight", (4,), r"layer1.0.se.weight \(4,\) has no place in a Res2Net"),
        ("layer1.3.conv1.weight", (4,), r"numbered without gaps, .*'layer1': \[0, 1, 3\]"),
        ("layer6.0.conv1.weight", (4,), r"numbered without gaps"),
        ("fc.bias", (9,), r"fc.bias is \(9,\), expected \(5,\)"),
    ],
)
def test_misfits(name, shape, match, state):
    state[name] = torch.empty(shape, device="meta")
    with pytest.raises(ConfigError, match=match):
        config_from_state(state)


def test_widths_without_a_base_width(tiny):
    state = meta_network(tiny).state_dict()
    for name, shape in {"convs.0.weight": (1, 1, 3, 3), "conv1.weight": (4, 32, 1, 1)}.items():
        state[f"layer2.0.{name}"] = torch.empty(shape, device="meta")
    with pytest.raises(ConfigError, match=r"no base_width gives splits of \[4, 1, 12, 16\]"):
        config_from_state(state)


def test_missing_entries(state):
    del state["layer3.0.bns.1.weight"]
    with pytest.raises(ConfigError, match=r"layer3.0.bns.1.weight \(12,\) is missing"):
        config_from_state(state)


@pytest.mark.parametrize("state", [{}, {"features.0.weight": torch.ones(1)}])
def test_other_networks(state):
    with pytest.raises(ConfigError, match=r"no entry 'layer1.0"):
        config_from_state(state)


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("layer1.0.conv1.weight", (8 * 10**6, 64, 1, 1), r"scale 1000000 make \d+ convolutions"),
        ("fc.weight", (10**12, 32), r"would have \d+ parameters"),
    ],
)
def test_absurd_shapes_are_refused_at_once(name, shape, match, tiny):
    """A file of a few bytes may hold a tensor that repeats one value."""
    state = meta_network(tiny.replace(layers=(1,), planes=(8,), base_width=64)).state_dict()
    state[name] = torch.ones(1).expand(shape)
    with within_cpu(1), pytest.raises(ConfigError, match=rf"not a Res2Net: .*{match}"):
        config_from_state(state)


def test_stage_numbers_that_python_does_not_read(state):
    state[f"layer{'9' * 5000}.0.conv1.weight"] = torch.ones(1)
    with pytest.raises(ConfigError, match=r"not a Res2Net: layer9+\.0\.conv1\.weight"):
        config_from_state(state)
