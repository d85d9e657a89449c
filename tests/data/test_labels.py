from __future__ import annotations

import pytest

from r2n_kernels.config import default_pretrained_cfg
from r2n_kernels.data import imagenet_labels, labels_for
from r2n_kernels.errors import ConfigError

CFG = default_pretrained_cfg("res2net50_26w_4s")


def test_imagenet_labels_equal_timms():
    timm_data = pytest.importorskip("timm.data")
    info = timm_data.ImageNetInfo("imagenet-1k")
    assert imagenet_labels() == tuple(info.index_to_description(i) for i in range(1000))


def test_imagenet_labels():
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert labels[0] == "tench, Tinca tinca"
    assert labels[999] == "toilet tissue, toilet paper, bathroom tissue"
    assert all(label.strip() == label != "" for label in labels)


@pytest.mark.parametrize(
    ("cfg", "known"),
    [
        (CFG, True),
        ({"num_classes": 1000, "hf_hub_id": "timm/res2net50_26w_4s.in1k"}, True),
        ({"num_classes": 1000, "architecture": "res2net50_26w_4s.a1_in1k"}, True),
        ({**CFG, "num_classes": 10}, False),
        ({**CFG, "tag": "my_photos"}, False),
        ({"num_classes": 1000}, False),
        ({}, False),
        (None, False),
    ],
)
def test_imagenet_is_known_by_tag_and_size(cfg, known):
    assert labels_for(cfg) == (imagenet_labels() if known else None)


def test_replaced_classifier_has_no_labels():
    assert labels_for(CFG, 1000) == imagenet_labels()
    assert labels_for(CFG, 10) is None
    assert labels_for({"num_classes": 2, "label_names": ["cat", "dog"]}, 3) is None


@pytest.mark.parametrize("names", [["cat", "dog"], ("cat", "dog"), {0: "cat", "1": "dog"}])
def test_label_names(names):
    assert labels_for({**CFG, "num_classes": 2, "label_names": names}) == ("cat", "dog")
    assert labels_for({"label_names": names}, 2) == ("cat", "dog")
    assert labels_for({"label_names": names}) == ("cat", "dog")


def test_descriptions_are_shown_instead_of_names():
    cfg = {"label_names": ["n1", "n2"], "label_descriptions": {"n1": "cat"}}
    assert labels_for(cfg) == ("cat", "n2")


def test_gaps_are_filled():
    assert labels_for({"num_classes": 4, "label_names": {"1": "a"}}) == (
        "class 0",
        "a",
        "class 2",
        "class 3",
    )


@pytest.mark.parametrize("names", [["cat"], ["a", "b", "c"], {"2": "a"}, {"-1": "a"}])
def test_label_names_that_do_not_fit(names):
    with pytest.raises(ConfigError, match=rf"label_names has {len(names)} labels for 2 classes"):
        labels_for({"num_classes": 2, "label_names": names})
