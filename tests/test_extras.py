from __future__ import annotations

import json
import sys

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.extras import load


def test_a_module_that_is_there():
    assert load("json", "parquet", "this") is json


def test_one_that_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = r"a \.parquet file needs pyarrow: pip install 'r2n_kernels\[parquet\]'$"
    with pytest.raises(ConfigError, match=told):
        load("pyarrow", "parquet", "a .parquet file")
