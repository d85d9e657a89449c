"""Activation scales: what they refuse, and JSON."""

from __future__ import annotations

import pytest

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.errors import ConfigError
from r2n_kernels.int8 import ActivationScales, BlockScales

CONFIG = Res2NetConfig((1, 2), planes=(9, 14))
SCALES = ActivationScales(
    0.5, tuple(BlockScales(block.name, 0.1, 0.2, 0.3) for block in CONFIG.blocks()), "12ab"
)


def test_they_are_named_and_fit_their_network():
    SCALES.check(CONFIG)
    assert SCALES.named()["stem"] == 0.5
    assert SCALES.named()["layer2.1.y"] == 0.2


def test_scales_of_other_weights_are_refused():
    SCALES.check_trunk("12ab")
    with pytest.raises(ConfigError, match="these scales were measured with other weights; make"):
        SCALES.check_trunk("12ac")


@pytest.mark.parametrize(("blocks", "trunk"), [([], ""), ((), 3)])
def test_other_kinds_are_refused(blocks, trunk):
    with pytest.raises(ConfigError, match="expected blocks as a tuple, and the trunk's hash as te"):
        ActivationScales(1.0, blocks, trunk)


def test_json_holds_them():
    assert ActivationScales.from_json(SCALES.to_json()) == SCALES


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), "1", True])
def test_what_cannot_round_is_refused(scale):
    with pytest.raises(ConfigError, match=r"int8: the scale layer1\.0\.y must be finite and above"):
        ActivationScales(1.0, (BlockScales("layer1.0", 1.0, scale, 1.0),), "")


def test_scales_of_another_network_are_refused():
    expected = r"expected scales of the blocks layer1.0 to layer2.0, got layer1.0 to layer2.1"
    with pytest.raises(ConfigError, match=expected):
        SCALES.check(CONFIG.replace(layers=(1, 1)))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"stem": 1, "blocks": [{}]}',
     '{"stem": 1, "blocks": [], "trunk": "", "more": 1}',
     '{"stem": NaN, "blocks": []}'],
)  # fmt: skip
def test_other_json_is_refused(text):
    with pytest.raises(ConfigError, match="int8: these are no activation scales: "):
        ActivationScales.from_json(text)


def test_a_scale_in_json_is_checked_too():
    with pytest.raises(ConfigError, match="the scale stem must be finite and above 0, got 0"):
        ActivationScales.from_json('{"stem": 0, "blocks": [], "trunk": ""}')
