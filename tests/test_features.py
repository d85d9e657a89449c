from __future__ import annotations

import pytest
import torch

import r2n_kernels
from r2n_kernels import ConfigError
from r2n_kernels.config import VARIANTS
from r2n_kernels.features import FeatureInfo

TIMM_INDICES = [None, (0,), (1, 3), (-1, 0), (4, 1), (1, 1), (-1, 4), [2]]


@pytest.fixture(scope="module")
def trunk():
    """timm's network and ours, with the same weights and images."""
    timm = pytest.importorskip("timm")
    ours = r2n_kernels.create_model("res2net50d", num_classes=0)
    theirs = timm.create_model("res2net50d", num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("out_indices", TIMM_INDICES, ids=str)
def test_words_and_values_are_timms(out_indices):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        kwargs = {} if out_indices is None else {"out_indices": out_indices}
        peer = timm.create_model("res2net50d", features_only=True, **kwargs).feature_info
    ours = FeatureInfo(VARIANTS["res2net50d"], out_indices)
    asked = [index % 5 for index in peer.out_indices]
    assert list(ours.out_indices) == sorted(set(asked))
    for method in ("channels", "reduction", "module_name"):
        mine, theirs = getattr(ours, method), getattr(peer, method)
        for idx in (*range(-5, 5), [4, 1], (0,), []):
            assert mine(idx) == theirs(idx) == mine(idx=idx), (method, idx)
        if asked == sorted(set(asked)):  # elsewhere timm's info does not fit its maps
            assert mine() == theirs()
        with pytest.raises(IndexError):
            theirs(5)
        with pytest.raises(IndexError):
            mine(5)


@pytest.mark.parametrize("out_indices", TIMM_INDICES, ids=str)
def test_maps_come_in_timms_order(out_indices, trunk, rel_error):
    timm = pytest.importorskip("timm")
    ours, theirs, x = trunk
    kwargs = {} if out_indices is None else {"out_indices": out_indices}
    peer = timm.create_model("res2net50d", features_only=True, **kwargs).eval()
    peer.load_state_dict(ours.state_dict(), strict=False)
    extractor = r2n_kernels.from_timm(theirs, features_only=True, **kwargs)
    indices = None if out_indices is None else list(out_indices)
    with torch.no_grad():
        pairs = [
            (extractor(x), peer(x)),
            (
                ours.forward_intermediates(x, indices=indices)[1],
                theirs.forward_intermediates(x, indices=indices)[1],
            ),
        ]
    for mine, wanted in pairs:
        assert [tuple(a.shape) for a in mine] == [tuple(e.shape) for e in wanted]
        assert all(rel_error(a, e) <= 1e-5 for a, e in zip(mine, wanted, strict=True))
    assert extractor.feature_info.channels() == [a.shape[1] for a in pairs[0][0]]


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
