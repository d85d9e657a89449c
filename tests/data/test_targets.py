from __future__ import annotations

import pytest

from r2n_kernels.config import default_pretrained_cfg
from r2n_kernels.data import ClassMap, imagenet_labels, target_of
from r2n_kernels.errors import ConfigError

NAMED = {"label_names": ["ant", "bee", "cat"], "num_classes": 3}


def test_a_class_map_comes_first():
    target, how = target_of(NAMED, 3, ClassMap({"ant": 2, "x": 0}, "class map m.txt"), ["ant", "x"])
    assert (target("ant"), target("x"), target(1), how) == (2, 0, 1, "class map m.txt")


def test_the_models_names():
    target, how = target_of(NAMED, 3, folders=["cat"])
    assert (target("cat"), how) == (2, "the model's label names")


def test_names_and_descriptions():
    cfg = {
        "label_names": {"0": "n1", "1": "n2", "3": "n3"},
        "label_descriptions": {"n1": "crane", "n2": "crane", "n3": "eel"},
    }
    target, _ = target_of(cfg, 4)
    assert [target(name) for name in ("n1", "n2", "n3", "eel")] == [0, 1, 3, 3]
    with pytest.raises(ConfigError, match="label 'crane' is no class"):
        target("crane")  # of two


def test_imagenets_synsets():
    target, _ = target_of(default_pretrained_cfg("res2net50d"), 1000, folders=["n01440764"])
    assert (target("n01440764"), target("n15075141")) == (0, 999)


def test_sorted_folders_where_the_model_says_no_names():
    target, how = target_of({}, 3, folders=["eel", "ant", "cat"])
    assert [target(name) for name in ("ant", "cat", "eel")] == [0, 1, 2]
    assert how == "the sorted names of the folders"
    digits, _ = target_of({}, 10, folders=[str(n) for n in range(10)])
    assert digits("7") == 7


@pytest.mark.parametrize(
    ("cfg", "classes", "folders", "reason"),
    [
        (
            NAMED,
            3,
            ["ant", "dog", "c\nat"],
            r"no class of the model's label names: dog, c\\nat; --c",
        ),
        ({}, 3, ["ant", "bee"], r"2 class folders \(ant, bee\) for a model of 3 classes"),
        ({}, 3, ["2", "10", "1"], r"torchvision and timm sort these folders differently \(1, 10"),
        ({}, 2, ["a", "B"], r"sort these folders differently"),
        # A fresh classifier: the names are of the old one
        (NAMED, 2, ["ant", "bee", "cat"], r"3 class folders \(ant, bee, cat\) for a model of 2"),
    ],
)
def test_folders_that_do_not_say_their_index(cfg, classes, folders, reason):
    with pytest.raises(ConfigError, match=reason):
        target_of(cfg, classes, folders=folders)


def test_a_map_for_another_model():
    with pytest.raises(ConfigError, match=r"m: class 'ant' has index 7, the model's 3 classes"):
        target_of({}, 3, ClassMap({"ant": 7}, "m"))


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (3, "label 3 is no class: they are 0 to 2"),
        (-1, "label -1 is no class"),
        ("dog", "label 'dog' is no class of the model's label names"),
    ],
)
def test_a_wrong_label(label, reason):
    target, _ = target_of(NAMED, 3)
    with pytest.raises(ConfigError, match=reason):
        target(label)


def test_names_that_nobody_explains():
    target, _ = target_of({}, 3)
    assert target(2) == 2
    with pytest.raises(ConfigError, match=r"label 'ant' is no class of the model, which does not"):
        target("ant")


def test_numbers_of_a_table_mean_their_names():
    cfg = {"label_names": ["ant", "bee", "cat"], "num_classes": 3}
    target, _ = target_of(cfg, 3, classes=["cat", "unknown", "ant"])
    assert (target(0), target(2), target("bee")) == (2, 0, 1)
    with pytest.raises(ConfigError, match="label 'unknown' is no class"):
        target(1)
    own, _ = target_of(cfg, 3, classes=["ant", "bee", "cat"])
    assert [own(number) for number in range(3)] == [0, 1, 2]
    strange, how = target_of(cfg, 3, classes=["x", "y", "z"])
    assert strange(1) == 1
    assert "knows none of their names" in how
    assert len({target.digest, own.digest, strange.digest}) == 3


def test_a_class_that_the_model_lacks_is_none_at_any_number():
    cfg = {"label_names": ["ant", "bee", "cat"], "num_classes": 3}
    target, _ = target_of(cfg, 3, classes=["ant", "bee", "unknown"])
    assert (target(0), target(1)) == (0, 1)
    with pytest.raises(ConfigError, match="label 'unknown' is no class"):
        target(2)


def test_imagenets_names_by_themselves():
    """Two pairs of its classes share a name: those go by number, where that is theirs."""
    cfg = {"architecture": "res2net50d", "tag": "in1k", "num_classes": 1000}
    names = imagenet_labels()
    target, _ = target_of(cfg, 1000, classes=names)
    assert [target(number) for number in range(1000)] == list(range(1000))
    turned, _ = target_of(cfg, 1000, classes=names[::-1])
    twice = [number for number, name in enumerate(names) if names.count(name) > 1]
    assert len(twice) > 1
    assert turned(0) == 999
    with pytest.raises(ConfigError, match=f"label '{names[twice[0]]}' is no class"):
        turned(999 - twice[0])


def test_numbers_of_a_table_mean_descriptions_too():
    texts = {"n1": "crane", "n2": "newt", "n3": "eel"}
    cfg = {"label_names": list(texts), "label_descriptions": texts, "num_classes": 3}
    target, how = target_of(cfg, 3, classes=["eel", "n1", "newt"])
    assert [target(number) for number in range(3)] == [2, 0, 1]
    assert how == "the model's label names"


def test_imagenets_descriptions_where_they_are_unique():
    classes = ["goldfish, Carassius auratus", "tench, Tinca tinca"]
    target, _ = target_of(default_pretrained_cfg("res2net50d"), 1000, classes=classes)
    assert (target(0), target(1)) == (1, 0)
    with pytest.raises(ConfigError, match="label 'crane' is no class"):
        target("crane")  # a bird, and a machine
