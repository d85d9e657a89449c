"""What is written of a network is read back; tests/create/test_saving.py asks timm, too."""

from __future__ import annotations

import pytest

from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.weights import config_from_timm
from r2n_kernels.weights.folder import config_json


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_needs_no_arguments(name):
    stated = config_json(VARIANTS[name], {})
    assert stated["architecture"] == name
    assert "model_args" not in stated
    assert config_from_timm(stated)[0] == VARIANTS[name]


@pytest.mark.parametrize("cfg", [{}, {"architecture": "res2net50d"}, {"architecture": "mine"}])
def test_any_network_is_read_back(cfg):
    config = Res2NetConfig(
        (1, 2), planes=(8, 16), base_width=40, scale=2, cardinality=2, stem_width=12,
        deep_stem=True, avg_down=True, in_chans=5, num_classes=7, global_pool="max",
    )  # fmt: skip
    stated = config_json(config, {**cfg, "input_size": (3, 70, 64)})
    known = cfg.get("architecture") in VARIANTS
    assert stated["architecture"] == (cfg["architecture"] if known else HEADLINE)
    found, described, _ = config_from_timm(stated)
    assert found == config
    assert (described["input_size"], described["pool_size"]) == ((5, 70, 64), (3, 2))
