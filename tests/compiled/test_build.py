"""The stem's convolution, really compiled, on a target of each kind; and the cache on disk."""

from __future__ import annotations

import dataclasses
import gzip
import logging
from pathlib import Path

import pytest

from r2n_kernels.compiled import build, facts, gate, instances, tables
from r2n_kernels.compiled.build import (
    SOURCES,
    Cache,
    Compiled,
    compile_instance,
    default_folder,
    disassemble,
    toolchain,
)
from r2n_kernels.compiled.facts import Access, Facts
from r2n_kernels.compiled.instances import Instance
from r2n_kernels.errors import KernelError

MODULE = "r2n_kernels.kernels.conv"
INSTANCE = Instance("sm_90", MODULE, "f_kernel", (("x_ptr", "*fp16"),), (((0,), 1),), (), 4)
FACTS = Facts(
    64, 0, 1024, 99, {"HGMMA": 4}, {8: 1, 16: 4}, {16: 2}, 3,
    (Access("load", 8, "f:b_ptr", "f.py:3", 1),), {"LDL": 0},
)  # fmt: skip
COMPILED = Compiled(FACTS, {"ptx": ".version 8.7"}, 1.5)
MAIN_LOOP = {("load", 16, "conv_tile:x_ptrs"), ("load", 16, "add_products:w_ptrs")}


@pytest.fixture(params=["sm_80", "sm_100", "gfx942"])
def row(request, stem_rows):
    return stem_rows[request.param, "conv"]


def test_facts(row):
    facts = row.compiled.facts
    assert 16 < facts.registers <= 255
    assert (facts.spill, facts.spilled) == (0, 0)
    assert 0 < facts.shared <= row.target.shared_bytes
    assert facts.instructions > 100
    assert facts.barriers > 0
    assert sum(facts.loads.values()) > 0
    assert sum(facts.stores.values()) > 0
    assert row.faults == ()


def test_tensor_cores(row):
    (opcode,) = row.compiled.facts.tensor_cores
    kind = {"sm_80": "HMMA", "sm_100": "UTCHMMA|HMMA", "gfx942": "v_mfma"}[row.instance.target]
    assert opcode.startswith(tuple(kind.split("|")))


def test_accesses_know_their_source(row):
    places = {(a.kind, a.bytes, a.pointer) for a in row.compiled.facts.accesses}
    assert {(kind, pointer) for kind, _, pointer in places} == {
        ("load", "conv_tile:x_ptrs"),
        ("load", "add_products:w_ptrs"),
        ("load", "conv_kernel:b_ptr"),
        ("store", "conv_kernel:out_ptr"),
    }
    if row.target.backend == "cuda":
        assert places >= MAIN_LOOP
        found = {a.bytes for a in row.compiled.facts.accesses if a.kind == "load"}
        assert found == set(row.compiled.facts.loads)  # PTX and SASS agree


def test_a_register_limit_is_kept(stem_rows, pool):
    row = stem_rows["sm_80", "conv"]
    limit = row.compiled.facts.registers - 8
    limited = dataclasses.replace(row.instance, registers=limit)
    assert limited.name == f"{row.instance.name} r{limit}"
    ((_, compiled),) = pool.map(compile_instance, [limited])
    assert not isinstance(compiled, KernelError), compiled
    assert compiled.facts.registers <= limit < row.compiled.facts.registers


def test_texts(row):
    nvidia = {"ttir", "ttgir", "llir", "ptx", "sass"}
    amd = {"ttir", "ttgir", "llir", "amdgcn"}
    assert set(row.compiled.texts) == (nvidia if row.target.backend == "cuda" else amd)
    assert "tt.dot" in row.compiled.texts["ttir"]


def test_amd_has_counts_of_its_own(stem_rows):
    extra = stem_rows["gfx942", "conv"].compiled.facts.extra
    assert extra["sgpr_count"] > 0
    assert extra["vgpr_spill_count"] == 0


def test_no_cubin():
    with pytest.raises(KernelError, match="cuobjdump failed: "):
        disassemble(b"not an ELF file")


@pytest.fixture
def empty_cache(tmp_path):
    return Cache(tmp_path / "new" / "folder")


def test_miss_then_hit(empty_cache):
    assert empty_cache.get(INSTANCE) is None
    empty_cache.put(INSTANCE, COMPILED)
    assert empty_cache.get(INSTANCE) == COMPILED
    assert [path.suffix for path in empty_cache.folder.iterdir()] == [".gz"]


@pytest.mark.parametrize(
    "change", [{"warps": 8}, {"target": "sm_80"}, {"constants": (((0,), 2),)}], ids=str
)
def test_another_instance_is_a_miss(empty_cache, change):
    empty_cache.put(INSTANCE, COMPILED)
    assert empty_cache.get(dataclasses.replace(INSTANCE, **change)) is None


@pytest.mark.parametrize("what", ["version", "environment"])
def test_another_toolchain_is_a_miss(empty_cache, monkeypatch, what):
    empty_cache.put(INSTANCE, COMPILED)
    if what == "version":
        monkeypatch.setattr(build.importlib.metadata, "version", lambda name: "0.0")
    else:
        monkeypatch.setenv("DISABLE_LLVM_OPT", "1")
    assert Cache(empty_cache.folder).get(INSTANCE) is None


def test_an_edited_kernel_is_a_miss_and_the_others_are_not(empty_cache, edited):
    other = dataclasses.replace(INSTANCE, module="r2n_kernels.kernels.maxpool")
    for instance in (INSTANCE, other):
        empty_cache.put(instance, COMPILED)
    edited("conv.py")
    assert Cache(empty_cache.folder).get(INSTANCE) is None
    assert Cache(empty_cache.folder).get(other) == COMPILED
    edited("device.py")  # which both import
    assert Cache(empty_cache.folder).get(other) is None


@pytest.fixture
def edited(monkeypatch):
    """edited(name): from now on the bytes of a file of this name are others."""
    read = Path.read_bytes

    def edit(name: str) -> None:
        def other(path: Path) -> bytes:
            return read(path) + (b"# edited" if path.name == name else b"")

        monkeypatch.setattr(Path, "read_bytes", other)

    return edit


def test_only_sources_that_decide_the_code_and_its_facts_count(tmp_path):
    """Those that choose instances need not: an instance names its entry of the cache."""
    modules = {Path(module.__file__) for module in (build, facts)}
    assert set(SOURCES) == modules
    assert not modules & {Path(module.__file__) for module in (tables, gate, instances)}
    copies = [tmp_path / path.name for path in SOURCES]
    for copy, path in zip(copies, SOURCES, strict=True):
        copy.write_bytes(path.read_bytes())
    assert toolchain(copies) == toolchain(SOURCES)
    for copy in copies:
        before = toolchain(copies)
        copy.write_bytes(copy.read_bytes() + b"# edited")
        assert toolchain(copies) != before


def test_interpreter_setting_does_not_matter(empty_cache, monkeypatch):
    empty_cache.put(INSTANCE, COMPILED)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert Cache(empty_cache.folder).get(INSTANCE) == COMPILED


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b"[1"), gzip.compress(b'{"facts": {}}'), gzip.compress(b"[]")],
    ids=["empty", "text", "cut", "lacks", "list"],
)
def test_damage_is_a_miss_and_is_said(empty_cache, caplog, content):
    empty_cache.put(INSTANCE, COMPILED)
    empty_cache.path(INSTANCE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert empty_cache.get(INSTANCE) is None
    assert "is damaged, so it is made again" in caplog.text


def test_truncation_is_damage(empty_cache, caplog):
    empty_cache.put(INSTANCE, COMPILED)
    path = empty_cache.path(INSTANCE)
    path.write_bytes(path.read_bytes()[:-20])
    assert empty_cache.get(INSTANCE) is None
    assert "is damaged" in caplog.text


def test_sources_edited_meanwhile(empty_cache, edited, caplog):
    assert empty_cache.get(INSTANCE) is None
    edited("conv.py")
    for _ in range(2):
        empty_cache.put(INSTANCE, COMPILED)
    assert empty_cache.get(INSTANCE) is None
    assert caplog.text.count("sources have changed during the run") == 1


def test_failed_write_leaves_nothing(empty_cache, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build.os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        empty_cache.put(INSTANCE, COMPILED)
    assert list(empty_cache.folder.iterdir()) == []


def test_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "r2n_kernels" / "aot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "r2n_kernels" / "aot"
