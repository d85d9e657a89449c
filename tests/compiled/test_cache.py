from __future__ import annotations

import dataclasses
import gzip
import logging

import pytest

from r2n_kernels.compiled import cache as module
from r2n_kernels.compiled.accesses import Access
from r2n_kernels.compiled.build import Compiled
from r2n_kernels.compiled.cache import Cache, default_folder
from r2n_kernels.compiled.facts import Facts
from r2n_kernels.compiled.instances import Instance

INSTANCE = Instance("sm_90", "m", "f_kernel", (("x_ptr", "*fp16"),), (((0,), 1),), (), 4)
FACTS = Facts(
    64, 0, 1024, 99, {"HGMMA": 4}, {8: 1, 16: 4}, {16: 2}, 3,
    (Access("load", 8, "f:b_ptr", "f.py:3", 1),), {"LDL": 0},
)  # fmt: skip
COMPILED = Compiled(FACTS, {"ptx": ".version 8.7"}, 1.5)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "new" / "folder")


def test_miss_then_hit(cache):
    assert cache.get(INSTANCE) is None
    cache.put(INSTANCE, COMPILED)
    assert cache.get(INSTANCE) == COMPILED
    assert [path.suffix for path in cache.folder.iterdir()] == [".gz"]


@pytest.mark.parametrize(
    "change", [{"warps": 8}, {"target": "sm_80"}, {"constants": (((0,), 2),)}], ids=str
)
def test_another_instance_is_a_miss(cache, change):
    cache.put(INSTANCE, COMPILED)
    assert cache.get(dataclasses.replace(INSTANCE, **change)) is None


@pytest.mark.parametrize("what", ["version", "environment", "source"])
def test_another_toolchain_is_a_miss(cache, monkeypatch, tmp_path, what):
    cache.put(INSTANCE, COMPILED)
    if what == "version":
        monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "0.0")
    elif what == "environment":
        monkeypatch.setenv("DISABLE_LLVM_OPT", "1")
    else:
        (tmp_path / "conv.py").write_text("changed")
        monkeypatch.setattr(module.kernels, "__file__", str(tmp_path / "__init__.py"))
    assert Cache(cache.folder).get(INSTANCE) is None


def test_interpreter_setting_does_not_matter(cache, monkeypatch):
    cache.put(INSTANCE, COMPILED)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert Cache(cache.folder).get(INSTANCE) == COMPILED


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b"[1"), gzip.compress(b'{"facts": {}}'), gzip.compress(b"[]")],
    ids=str,
)
def test_damage_is_a_miss_and_is_said(cache, caplog, content):
    cache.put(INSTANCE, COMPILED)
    cache.path(INSTANCE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.get(INSTANCE) is None
    assert "is damaged, so it is made again" in caplog.text


def test_truncation_is_damage(cache, caplog):
    cache.put(INSTANCE, COMPILED)
    path = cache.path(INSTANCE)
    path.write_bytes(path.read_bytes()[:-20])
    assert cache.get(INSTANCE) is None
    assert "is damaged" in caplog.text


def test_sources_edited_meanwhile(cache, monkeypatch, caplog):
    monkeypatch.setattr(module, "toolchain", lambda: "edited")
    for _ in range(2):
        cache.put(INSTANCE, COMPILED)
    assert cache.get(INSTANCE) is None
    assert caplog.text.count("sources have changed during the run") == 1


def test_failed_write_leaves_nothing(cache, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        cache.put(INSTANCE, COMPILED)
    assert list(cache.folder.iterdir()) == []


def test_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "r2n_kernels" / "aot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "r2n_kernels" / "aot"
