from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import r2n_kernels
from r2n_kernels import ConfigError
from r2n_kernels.config import VARIANTS
from r2n_kernels.features import FeatureInfo

TIMM_INDICES = [None, (0,), (1, 3), (-1, 0), (4, 1), (1, 1), (-1, 4), [2], 1, 3, 5]


SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 12, 16, 20]}


@pytest.fixture(scope="module")
def trunk():
    """timm's network, small, and ours with the same weights; and images."""
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("res2net50d", num_classes=0, **SMALL).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return r2n_kernels.from_timm(theirs), theirs, images


def timms_info(out_indices, name="res2net50d"):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        kwargs = {} if out_indices is None else {"out_indices": out_indices}
        return timm.create_model(name, features_only=True, **kwargs).feature_info


@pytest.mark.parametrize("out_indices", TIMM_INDICES, ids=str)
def test_words_and_values_are_timms(out_indices):
    peer = timms_info(out_indices)
    ours = FeatureInfo(VARIANTS["res2net50d"], out_indices)
    asked = [index % 5 for index in peer.out_indices]
    assert list(ours.out_indices) == sorted(set(asked))
    for method in ("channels", "reduction", "module_name", "get_dicts"):
        mine, theirs = getattr(ours, method), getattr(peer, method)
        for idx in (*range(-5, 5), [4, 1], (0,), []):
            assert mine(idx=idx) == theirs(idx=idx), (method, idx)
        if asked == sorted(set(asked)):  # elsewhere timm's info does not fit its maps
            assert mine() == theirs()
    assert ours.info == peer.info == list(ours) == list(peer)
    assert len(ours) == len(peer)
    assert ours[-1] == peer[-1]
    assert ours[1:3] == peer[1:3]


@pytest.mark.parametrize("name", ["res2net101_26w_4s", "res2next50", "res2net101d"])
def test_what_each_network_says_is_timms(name):
    assert FeatureInfo(VARIANTS[name]).info == timms_info(None, name).info


@pytest.mark.parametrize("idx", [None, 2, -1, [4, 1], (0,), []], ids=str)
def test_parts_of_dicts_are_timms(idx):
    peer, ours = timms_info((1, 3)), FeatureInfo(VARIANTS["res2net50d"], (1, 3))
    for keys in (None, [], ["num_chs"], ("module", "reduction"), ["index"]):
        assert ours.get_dicts(keys, idx) == peer.get_dicts(keys, idx)
        assert ours.get_dicts(keys=keys, idx=idx) == ours.get_dicts(keys, idx)
    for key in ("num_chs", "reduction", "module", "index"):
        assert ours.get(key, idx) == peer.get(key, idx)


@pytest.mark.parametrize("out_indices", [2, 5, (0,), (1, -1)], ids=str)
def test_from_other_is_timms(out_indices):
    peer, ours = timms_info((1, 3)), FeatureInfo(VARIANTS["res2net50d"], (1, 3))
    other, wanted = ours.from_other(out_indices), peer.from_other(out_indices)
    assert other.channels() == wanted.channels()
    assert other.info == wanted.info
    assert ours.out_indices == (1, 3)
    other.info[0]["num_chs"] = 1
    assert ours.channels(0) == 64


def test_the_last_maps_by_their_count():
    info = FeatureInfo(VARIANTS["res2net50d"], 2)
    assert info.out_indices == (3, 4)
    assert FeatureInfo(VARIANTS["res2net50d"], np.int64(2)).out_indices == (3, 4)
    assert FeatureInfo(VARIANTS["res2net50d"], np.array([3, -1])).out_indices == (3, 4)


def test_copies_keep_the_choice():
    info = FeatureInfo(VARIANTS["res2net50d"], (1, 3))
    for other in (copy.deepcopy(info), pickle.loads(pickle.dumps(info))):
        assert (other.info, other.out_indices) == (info.info, info.out_indices)


@pytest.mark.parametrize("out_indices", TIMM_INDICES, ids=str)
def test_maps_come_in_timms_order(out_indices, trunk, rel_error):
    timm = pytest.importorskip("timm")
    ours, theirs, x = trunk
    kwargs = {} if out_indices is None else {"out_indices": out_indices}
    peer = timm.create_model("res2net50d", features_only=True, **SMALL, **kwargs).eval()
    peer.load_state_dict(ours.state_dict(), strict=False)
    extractor = r2n_kernels.from_timm(theirs, features_only=True, **kwargs)
    with torch.no_grad():
        pairs = [
            (extractor(x), peer(x)),
            (
                ours.forward_intermediates(x, indices=out_indices)[1],
                theirs.forward_intermediates(x, indices=out_indices)[1],
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


@pytest.mark.parametrize(
    ("out_indices", "error", "message"),
    [
        ((0, 5), ConfigError, r"must lie in -5\.\.4, got \(0, 5\)"),
        ([-6], ConfigError, r"must lie in -5\.\.4, got \(-6,\)"),
        ((), ConfigError, "at least one"),
        (0, ConfigError, r"the last n maps: 1\.\.5, got 0"),
        (6, ConfigError, r"the last n maps: 1\.\.5, got 6"),
        (-1, ConfigError, r"the last n maps: 1\.\.5, got -1"),
        (True, TypeError, "must be an int or several, got True"),
        ((0, True), TypeError, r"must be an int or several, got \(0, True\)"),
        (2.0, TypeError, r"must be an int or several, got 2\.0"),
        ((1.0,), TypeError, r"must be an int or several, got \(1\.0,\)"),
        ("12", TypeError, "must be an int or several, got '12'"),
        ("", TypeError, "must be an int or several, got ''"),
    ],
)
def test_bad_indices_are_named(out_indices, error, message):
    info = FeatureInfo(VARIANTS["res2net50d"])
    with pytest.raises(error, match=message):
        FeatureInfo(VARIANTS["res2net50d"], out_indices)
    with pytest.raises(error, match=message):
        info.from_other(out_indices)
    assert info.out_indices == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("idx", "error", "message"),
    [
        (5, IndexError, "no feature map 5; there are 5"),
        (-6, IndexError, "no feature map -6"),
        ([0, 7], IndexError, "no feature map 7"),
        (True, TypeError, "idx must be an int, or a list or tuple of ints, got True"),
        ([1, False], TypeError, "idx must be an int, .* got False"),
        (1.0, TypeError, r"idx must be an int, .* got 1\.0"),
        ("1", TypeError, "idx must be an int, .* got '1'"),
    ],
)
@pytest.mark.parametrize("method", ["channels", "reduction", "module_name", "get_dicts"])
def test_bad_maps_are_named(method, idx, error, message):
    with pytest.raises(error, match=message):
        getattr(FeatureInfo(VARIANTS["res2net50d"]), method)(idx=idx)


def test_unknown_keys_are_named():
    peer, ours = timms_info(None), FeatureInfo(VARIANTS["res2net50d"])
    for info in (peer, ours):
        with pytest.raises(KeyError, match="stride"):
            info.get("stride")
        with pytest.raises(KeyError, match="stride"):
            info.get_dicts(["module", "stride"])
    with pytest.raises(KeyError, match=r"no \['stride'\] in feature_info; it has \['num_chs', "):
        ours.get("stride", 0)
