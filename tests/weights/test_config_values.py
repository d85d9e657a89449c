"""A stranger's config.json: one named error in under a second, or a network."""

from __future__ import annotations

import copy
import json
import random

import pytest

from r2n_kernels.data import create_transform, labels_for, resolve_data_config
from r2n_kernels.errors import ConfigError, R2NError, WeightsError
from r2n_kernels.text import show
from r2n_kernels.weights import config_from_timm, read_config
from r2n_kernels.weights.config_values import MAX_DEPTH, is_deep
from r2n_kernels.weights.shapes import expected_shapes

from ..conftest import within_cpu

NAME = "res2net50_26w_4s"
HONEST = {
    "architecture": NAME,
    "num_classes": 3,
    "num_features": 2048,
    "global_pool": "avg",
    "model_args": {
        "layers": [1, 1, 1, 1],
        "channels": [16, 32, 64, 128],
        "base_width": 26,
        "cardinality": 1,
        "stem_width": 32,
        "stem_type": "deep",
        "avg_down": True,
        "in_chans": 3,
        "block_args": {"scale": 4},
        "drop_rate": 0.1,
    },
    "label_names": ["a", "b", "c"],
    "label_descriptions": {"a": "an a"},
    "pretrained_cfg": {
        "tag": "in1k",
        "num_classes": 3,
        "input_size": [3, 64, 64],
        "pool_size": [2, 2],
        "crop_pct": 0.9,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "license": "mit",
        "first_conv": "conv1.0",
    },
}


def deep(levels: int) -> list:
    nested: list = []
    for _ in range(levels):
        nested = [nested]
    return nested


STRANGE = [
    None, True, False, 0, -1, 1, 2, 64, 65, 10**9, 2**31, 2**63, -(10**18), 10**400, 0.5, -0.0,
    1e308, float("inf"), float("nan"), "", "x", "deep", "\x1b[2J\n", "\ud800", "a" * 100_000, [],
    [0], [1, 2, 3], [10**9] * 4, [1] * 10_000, ["a"], [None], [[1]], {}, {"scale": 10**9}, {"a": 1},
    {"0": "a"}, {"-1": "a"}, {"1" * 30: "a"}, deep(100),
]  # fmt: skip


def paths(value, path=()):
    yield path
    children = value if isinstance(value, dict) else range(len(value)) if _is_list(value) else ()
    for key in children:
        yield from paths(value[key], (*path, key))


def _is_list(value) -> bool:
    return isinstance(value, list) and len(value) < 10  # the strange ones are left whole


def mutated(chooser: random.Random):
    """HONEST with one to three places deleted, replaced or added to."""
    config = copy.deepcopy(HONEST)
    for _ in range(chooser.randint(1, 3)):
        *above, last = chooser.choice([path for path in paths(config) if path])
        place = config
        for key in above:
            place = place[key]
        kind, value = chooser.randrange(8), copy.deepcopy(chooser.choice(STRANGE))
        if kind == 0:
            del place[last]
        elif kind == 1 and isinstance(place, dict):
            place[chooser.choice(["layers", "se", "input_size", "\n", "license"])] = value
        else:
            place[last] = value
    return config


def use(config) -> None:
    """All that a model and its preprocessing make of a config.json before there are weights."""
    found, pretrained, _ = config_from_timm(config)
    expected_shapes(found)
    labels_for(pretrained, found.num_classes)
    create_transform(**resolve_data_config({}, pretrained))


def test_honest_config_is_used():
    use(HONEST)


@pytest.mark.parametrize("seed", range(6))
def test_fuzzed_configs_give_one_named_error_at_once(seed, tmp_path):
    chooser = random.Random(seed)
    outcomes = set()
    for _ in range(100):
        config = mutated(chooser)
        (tmp_path / "config.json").write_text(json.dumps(config))
        error = None
        with within_cpu(1, config):
            try:
                use(read_config(tmp_path))
            except R2NError as caught:
                error = str(caught)
        assert error is None or (error.isprintable() and len(error) < 1000), config
        outcomes.add(error is None)
    assert outcomes == {True, False}


@pytest.mark.parametrize("key", ["layers", "channels", "base_width", "cardinality", "stem_width",
                                 "in_chans", "num_classes", "block_args"])  # fmt: skip
@pytest.mark.parametrize("value", [10**6, 10**9, 10**30, 10**400])
def test_absurd_sizes(key, value):
    args = HONEST["model_args"]
    absurd = {"layers": [value] * 4, "channels": [value] * 4, "block_args": {"scale": value}}
    config = HONEST | {"model_args": args | {key: absurd.get(key, value)}}
    with within_cpu(1), pytest.raises(ConfigError) as caught:
        use(config)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"layers": [1, 1, 1, 10**5]}, r"layers \[1, 1, 1, 100000\] at scale 4 make 600018 conv"),
        ({"block_args": {"scale": 10**5}}, r"at scale 100000 make \d+ convolutions, expected 1500"),
        ({"channels": [10**6] * 4}, r"the network would have \d+ parameters, expected 1000000000"),
        ({"base_width": 10**400}, r"'base_width' is out of range: an integer of 1329 bits$"),
        ({"layers": [1] * 99}, r"'layers' has 99 values: \[1, 1, 1, 1, 1, 1, \.\.\.\]$"),
        ({"x\n": "\x1b" * 99}, r"model_args not supported: x\\n='\\x1b"),
        (dict.fromkeys("abcdefghijk", 1), r"not supported: a=1, .*, h=1 and 3 more$"),
    ],
)
def test_messages(changes, match):
    with pytest.raises(ConfigError, match=match):
        config_from_timm(HONEST | {"model_args": HONEST["model_args"] | changes})


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("mean", ["a"], "expected a number 'mean', got 'a'"),
        ("std", [float("nan")], "expected a number 'std', got nan"),
        ("crop_pct", "big", "expected a number 'crop_pct', got 'big'"),
        ("crop_pct", True, "expected a number 'crop_pct', got True"),
        ("input_size", [3, 64.5, 64], "expected an integer 'input_size', got 64.5"),
        ("interpolation", ["bicubic"], r"expected a short text 'interpolation', got \['bicubic'\]"),
        ("interpolation", "a" * 999, "expected a short text 'interpolation', got 'aaa"),
        ("mean", [0.5] * 99, "'mean' has 99 values"),
        ("label_names", "abc", "expected a list 'label_names', got 'abc'"),
        ("label_names", [1], "expected text in 'label_names', got 1"),
        ("label_names", {"x": "a"}, "expected an index in 'label_names', got 'x'"),
        ("label_descriptions", [1], r"expected an object 'label_descriptions', got \[1\]"),
    ],
)
def test_description_of_another_type(key, value, match):
    with pytest.raises(ConfigError, match=match):
        config_from_timm({"architecture": NAME, "pretrained_cfg": {key: value}})


@pytest.mark.parametrize("name", ["a" * 10**6, "res2net50d\n", ""])
def test_name_that_is_none(name):
    with within_cpu(1), pytest.raises(ConfigError) as caught:
        config_from_timm({"architecture": name})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("levels", [MAX_DEPTH, 500, 100_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting_in_a_file(levels, brackets, tmp_path):
    opening, closing = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    inner = "1" if brackets == "{}" else ""
    (tmp_path / "config.json").write_text(
        f'{{"architecture": {opening * levels}{inner}{closing * levels}}}'
    )
    with pytest.raises(WeightsError, match=r"config.json: (values nest more than|not valid JSON)"):
        read_config(tmp_path)


def test_deep_nesting_in_memory():
    with pytest.raises(ConfigError, match=r"config.json: values nest more than 16 deep"):
        config_from_timm({"architecture": NAME, "x": deep(10_000)})
    assert not is_deep({"a": deep(MAX_DEPTH - 2)})


def test_integers_that_python_does_not_write_out(tmp_path):
    (tmp_path / "config.json").write_text('{"a": 1' + "0" * 5000 + "}")
    with pytest.raises(WeightsError, match=r"config.json: not valid JSON: .*limit"):
        read_config(tmp_path)
    assert show(10**5000) == "an integer of 16610 bits"


def test_huge_file(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WeightsError, match=r"config.json: larger than 16777216 bytes"):
        read_config(tmp_path)
