from __future__ import annotations

import dataclasses
import math

import pytest

from r2n_kernels.compiled import build
from r2n_kernels.compiled.inspection import Key, inspect, occupancy
from r2n_kernels.compiled.tables import inspection_record, inspection_table
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.targets import TARGETS

from .conftest import stem_request


def changed(row, **facts):
    """The row, had it compiled to other facts."""
    compiled = row.compiled
    return dataclasses.replace(
        row,
        compiled=dataclasses.replace(compiled, facts=dataclasses.replace(compiled.facts, **facts)),
    )


def test_second_time_from_the_cache_without_compiling(stem_rows, pool, cache, monkeypatch):
    monkeypatch.setattr(build, "compile_instance", math.sqrt)  # would fail
    told = []
    (row,) = inspect(
        [stem_request("sm_80", schedule=s) for s in ("latency", "throughput")],
        pool, cache=cache, kernel="conv",
        started=told.append, done=lambda: told.append("done"),
    )  # fmt: skip
    assert told == [1, "done"]
    assert [site.batch for site in row.sites] == [2, 2]  # one instance serves both
    before = stem_rows["sm_80", "conv"]
    assert (before.cached, row.cached) == (False, True)
    assert row.compiled == before.compiled


def test_failure_is_a_row_of_its_own(stem_rows, pool, cache, monkeypatch):
    monkeypatch.setattr(build, "compile_instance", math.sqrt)
    found = inspect([stem_request("sm_80")], pool, cache=cache, kernel="c*")
    ours = {row.step: row for row in found}
    assert ours["conv1"].compiled == stem_rows["sm_80", "conv"].compiled
    failed = ours["layer1.0.conv1"]
    assert failed.compiled is None
    assert failed.error.startswith("TypeError: must be real number, not Instance")
    assert failed.faults == (f"does not compile: {failed.error}",)
    shown = inspection_table(found)
    assert "does not compile" in shown
    assert f"{failed.key}: does not compile: TypeError" in shown
    assert inspection_record(failed)["error"] == failed.error


def test_no_kernel_of_that_name(pool):
    with pytest.raises(ConfigError, match="no kernel matches 'convolution'; there are conv, conv1"):
        inspect([stem_request("sm_80")], pool, kernel="convolution")


def test_no_plan(pool):
    with pytest.raises(ConfigError, match="sm_80, batch 2: ConfigError: images must be at least"):
        inspect([stem_request("sm_80", height=8)], pool)


class TestFaults:
    @pytest.mark.parametrize(
        ("facts", "fault"),
        [
            ({"spill": 8}, "spills: 8 bytes a thread, 0 instructions"),
            ({"extra": {"LDL": 2, "STL": 1}}, "spills: 0 bytes a thread, 3 instructions"),
            ({"shared": 163 * 1024 + 1}, "shared memory: 166913 bytes, 166912 a CTA at most"),
            ({"tensor_cores": {}}, "no tensor-core instruction"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_known(self, stem_rows, facts, fault):
        row = changed(stem_rows["sm_80", "conv"], **facts)
        assert row.faults == (fault,)
        shown = inspection_table([row])
        assert f"sm_80: 1 faults\n  {row.key}: {fault}" in shown

    def test_float32_needs_no_tensor_core(self, stem_rows):
        row = changed(stem_rows["sm_80", "conv"], tensor_cores={})
        signature = tuple((n, t.replace("*fp16", "*fp32")) for n, t in row.instance.signature)
        instance = dataclasses.replace(row.instance, signature=signature)
        assert dataclasses.replace(row, instance=instance).faults == ()


class TestKey:
    @pytest.mark.parametrize(
        ("key", "text"),
        [
            (Key("plan", (256,)), "plan b256"),
            (
                Key("layer3.1.conv1", (1, 256), ("conv1", "14x14", "1024->416", "w4")),
                "layer3.1.conv1 b1,256 conv1 14x14 1024->416 w4",
            ),
        ],
    )
    def test_round_trip(self, key, text):
        assert str(key) == text
        assert Key.parse(text) == key

    def test_of_instances(self, stem_rows):
        row = stem_rows["sm_80", "conv"]
        assert str(row.key) == f"conv1 b2 {row.instance.name}"
        assert Key.parse(str(row.key)) == row.key
        assert row.key.words[0] == "conv"

    @pytest.mark.parametrize("text", ["", "fc", "fc 1", "fc b", "fc bx linear", "fc b01", "fc c1"])
    def test_other_texts(self, text):
        with pytest.raises(ValueError, match=r".+"):
            Key.parse(text)


@pytest.mark.parametrize(
    ("target", "registers", "shared", "warps", "ctas", "share", "limit"),
    [
        # CUDA's occupancy calculator (cuda_occupancy.h) gives the same
        ("sm_90", 128, 0, 8, 2, 0.25, "registers"),
        ("sm_90", 129, 0, 8, 1, 0.125, "registers"),  # 17 registers x 8 round up to 136
        ("sm_80", 32, 0, 4, 16, 1.0, "registers"),
        ("sm_80", 16, 0, 1, 32, 0.5, "CTAs"),
        ("sm_80", 32, 163 * 1024, 8, 1, 0.125, "smem"),  # with 1 KiB reserved: the whole SM
        ("sm_90", 64, 75 * 1024, 4, 3, 0.1875, "smem"),
        ("sm_89", 40, 0, 8, 6, 1.0, "registers"),
        ("sm_86", 16, 0, 8, 6, 1.0, "warps"),
        ("gfx942", 128, 0, 4, 4, 0.5, "registers"),
        ("gfx942", 32, 32 * 1024, 4, 2, 0.25, "smem"),
        ("gfx942", 32, 0, 8, 4, 1.0, "warps"),
    ],
)
def test_occupancy(target, registers, shared, warps, ctas, share, limit):
    found = occupancy(registers, shared, warps, TARGETS[target])
    assert (found.ctas, found.warps, found.limit) == (ctas, share, limit)


def test_occupancy_with_too_much_shared_memory():
    target = TARGETS["sm_86"]
    found = occupancy(32, target.shared_bytes + 1, 4, target)
    assert (found.ctas, found.limit) == (0, "smem")
