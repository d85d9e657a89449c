from __future__ import annotations

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.config import VARIANTS
from r2n_kernels.features import FeatureInfo


@pytest.mark.parametrize("out_indices", [None, (0,), (1, 3), (-1, 0)])
def test_words_and_values_are_timms(out_indices):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        kwargs = {} if out_indices is None else {"out_indices": out_indices}
        peer = timm.create_model("res2net50d", features_only=True, **kwargs).feature_info
    ours = FeatureInfo(VARIANTS["res2net50d"], out_indices)
    assert sorted(ours.out_indices) == sorted(index % 5 for index in peer.out_indices)
    assert sorted(ours.channels()) == sorted(peer.channels())
    assert sorted(ours.reduction()) == sorted(peer.reduction())
    assert sorted(ours.module_name()) == sorted(peer.module_name())


def test_reads_like_timms_list_of_dicts():
    info = FeatureInfo(VARIANTS["res2net101_26w_4s"])
    assert len(info) == 5
    assert info[0] == {"num_chs": 64, "reduction": 2, "module": "act1", "index": 0}
    assert [d["num_chs"] for d in info] == [64, 256, 512, 1024, 2048]
    assert info.channels(-1) == 2048
    assert info.get_dicts()[4]["module"] == "layer4"
    assert "out_indices=(0, 1, 2, 3, 4)" in repr(info)


def test_bad_indices_are_named():
    with pytest.raises(ConfigError, match=r"must lie in -5\.\.4, got \(0, 5\)"):
        FeatureInfo(VARIANTS["res2net50d"], (0, 5))
    with pytest.raises(ConfigError, match="at least one"):
        FeatureInfo(VARIANTS["res2net50d"], ())
