from __future__ import annotations

import json

import pytest

from r2n_kernels.strict_json import DEPTH, is_number, parse


@pytest.mark.parametrize("value", [None, True, [1, -2.5, "ü\u202e"], {"a": {"b": [[]]}}, 2**63 - 1])
def test_what_is_json_is_taken(value):
    assert parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON: Expecting value"),
        ("{", "is no JSON"),
        ("[NaN]", "holds NaN, which is no JSON"),
        ("-Infinity", "holds -Infinity, which is no JSON"),
        ("1e400", "holds a number that is too large"),
        ("1" + "0" * 400, "holds a number that is too large"),
        ("9" * 5000, "holds a number that is too large"),
        (str(2**63), "holds a number that is too large"),
        ("[" * 100_000, "is nested deeper than 32 levels"),
        ('{"a":' * 100_000, "is nested deeper than 32 levels"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "is nested deeper than 32 levels"),
        (r'["\u001b[31m"]', r"holds a control character in '\\x1b\[31m'"),
        (r'{"a": {"\u0000": 1}}', r"holds a control character in '\\x00'"),
        (r'"\ud800"', r"holds a control character in '\\ud800'"),
    ],
)
def test_what_is_none_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as raised:
        parse(text)
    assert str(raised.value).isprintable()


def test_the_deepest_that_is_taken():
    parse("[" * DEPTH + "]" * DEPTH)


def test_true_is_no_number():
    assert [is_number(value) for value in (1, 0.5, True, "1", None)] == [True, True, *[False] * 3]
