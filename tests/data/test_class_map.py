from __future__ import annotations

import json

import pytest

from r2n_kernels.data import read_class_map
from r2n_kernels.errors import ConfigError

timm_class_map = pytest.importorskip("timm.data.readers.class_map")

PETS = {"ant": 0, "bee": 1, "cat": 2}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "ant\nbee\ncat\n", PETS),
        ("a.txt", "\ufeffant\r\nbee\r\ncat\r\n\r\n", PETS),
        ("a.txt", "cat 2\nant 0\nbee\t1\n", PETS),
        ("a.txt", "great white shark  2\nant 0", {"great white shark": 2, "ant": 0}),
        ("a", "ant 1\nbee", {"ant 1": 0, "bee": 1}),  # no pairs: names
        ("a.txt", "class 1\nclass 1", None),
        ("a.json", '["ant", "bee", "cat"]', PETS),
        ("a.json", json.dumps(PETS), PETS),
        ("a.json", '{"0": "ant", "2": "cat", "1": "bee"}', PETS),
        ("a.json", '{"ant": "0", "bee": 1, "cat": 2}', PETS),
        ("a.json", '{"cat": 2, "kitty": 2}', {"cat": 2, "kitty": 2}),
    ],
)
def test_formats(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    if expected is None:
        with pytest.raises(ConfigError, match=r"class 'class 1' has two indices, 0 and 1"):
            read_class_map(tmp_path / name)
    else:
        assert read_class_map(str(tmp_path / name)).indices == expected


def test_timms_text_means_the_same(tmp_path):
    (tmp_path / "a.txt").write_text("n02\nn01\nn03\n")
    ours = read_class_map(tmp_path / "a.txt").indices
    assert ours == timm_class_map.load_class_map(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"ant\n\nbee", r"a\.txt: line 2 is empty"),
        ("a.txt", b"ant\nbee\nant", r"class 'ant' has two indices, 0 and 2"),
        ("a.txt", b" \n", r"it has no class"),
        ("a.txt", b"\xff\xfe", r"not text in UTF-8"),
        ("a.json", b"[1]", r"expected the name of a class, found 1"),
        ("a.json", b"{", r"not valid JSON"),
        ("a.json", b'"ant"', r"expected a list or an object, found 'ant'"),
        ("a.json", b'{"ant": -1}', r"expected the index of a class, found -1"),
        ("a.json", b'{"ant": true}', r"expected the index of a class, found True"),
        ("a.json", b'{"x": "ant"}', r"expected the index of a class, found 'x'"),
        ("a.json", b'{"0": "ant", "1": "ant"}', r"class 'ant' has two indices, 0 and 1"),
    ],
)
def test_damaged_ones_are_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"class map .*{reason}"):
        read_class_map(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.txt: No such file"):
        read_class_map(tmp_path / "no.txt")


def test_labels(tmp_path):
    (tmp_path / "a.json").write_text('{"cat": 2, "kitty": 2, "ant": 0}')
    found = read_class_map(tmp_path / "a.json")
    assert found.labels(4) == ("ant", "class 1", "cat", "class 3")
    with pytest.raises(ConfigError, match=r"class 'cat' has index 2, the model's 2 classes have 0"):
        found.labels(2)
