"""What an extra brings is imported when it is needed, or named."""

from __future__ import annotations

import json

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.extras import load


def test_what_is_there():
    assert load("json", "nothing", "this") is json


def test_what_is_missing():
    wanted = r"^this needs not_there: pip install 'r2n_kernels\[some\]'$"
    with pytest.raises(ConfigError, match=wanted):
        load("not_there", "some", "this")
