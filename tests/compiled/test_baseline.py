"""What is in the baseline, its file, and that it notices a removed fusion and a spill."""

from __future__ import annotations

import dataclasses
import json

import pytest

from r2n_kernels.compiled import baseline_file
from r2n_kernels.compiled.baseline import (
    TARGETS,
    batches,
    carried,
    code_hash,
    plan_facts,
    plan_of,
    requests,
    summaries,
)
from r2n_kernels.compiled.baseline_file import Baseline, default_path, read, text, write
from r2n_kernels.compiled.changes import RULES, compare
from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.errors import ConfigError, RecordError
from r2n_kernels.kernels import tiles

PTX = """\
.visible .entry conv1_kernel(
{{
\t.loc\t1 {line} 0                          // conv1.py:{line}:0
$L__func_begin0:
\tld.param.b64 \t%rd21, [conv1_kernel_param_0];
$L__tmp{label}:
$L__BB0_1:                              // %for.body
\tadd.s32 \t%r1, %r2, {number};
}}
\t.file\t1 "{folder}/conv1.py"
\t.section\t.debug_abbrev
.b8 {line}
"""
SPILLS = "import r2n_kernels.kernels.tiles as tiles; tiles.TALL = (128, 256, 4)"


def small_file():
    """What was accepted of one target, cut to a plan and two instances."""
    found = read(default_path())
    names = [name for name in found.targets["sm_90"] if name.split(" ")[0] in ("plan", "maxpool")]
    return {"sm_90": {name: found.targets["sm_90"][name] for name in names}}


class TestCode:
    def test_does_not_depend_on_where_the_source_is(self):
        one = PTX.format(line=51, label=0, number=7, folder="/home/a")
        other = PTX.format(line=52, label=10, number=7, folder="/srv")
        assert code_hash(one) == code_hash(other)

    def test_depends_on_the_instructions(self):
        hashes = {
            code_hash(PTX.format(line=51, label=0, number=number, folder="")) for number in (7, 8)
        }
        assert len(hashes) == 2


class TestAccepted:
    """The file of this repository."""

    def test_is_whole_and_small(self):
        found = read(default_path())
        assert tuple(found.targets) == TARGETS
        assert all(len(summary) > 50 for summary in found.targets.values())
        assert default_path().stat().st_size < 2e6
        assert default_path().read_text() == text(found)

    def test_plans(self, check_accepted, baseline):
        found = summaries(requests(), [])
        for target, plans in found.items():
            plans.update({n: e for n, e in baseline[target].items() if n not in plans})
        check_accepted(found)

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_removed_fusion_is_worse(self, baseline, target):
        """At batch 256, a stage in a launch a split."""
        request = requests(batches=[256], targets=[target])[0]
        split = plan_of(dataclasses.replace(request, schedule="latency"))
        new = {**baseline[target], "plan b256": {"plan": plan_facts(split)}}
        (found,) = compare(target, baseline[target], new)
        worse = {c.fact: (c.base, c.new) for c in found.changes if c.verdict == "worse"}
        assert found.verdict == "worse"
        assert worse["launches"] == (104, 162)
        assert {"bytes read", "bytes written"} < worse.keys()

    @pytest.mark.slow
    def test_a_spill_is_worse(self, baseline, monkeypatch):
        """128x256 tiles for 4 warps, by the rule of tiles, where the plan and the workers read it.

        Only conv1 at batch 256 is compiled, and compared.
        """
        monkeypatch.setattr(tiles, "TALL", (128, 256, 4))
        wanted = requests(batches=[256], targets=["sm_80"])
        with Pool(1) as pool:
            list(pool.map(exec, [SPILLS]))
            new = summaries(wanted, inspect(wanted, pool, kernel="conv1"))["sm_80"]
        steps = {(name.split(" ")[0], batches(name)[-1]) for name in new}
        base = {
            n: e for n, e in baseline["sm_80"].items() if (n.split(" ")[0], batches(n)[-1]) in steps
        }
        found = {d.new.split(" ")[0]: d for d in compare("sm_80", base, new) if d.new}
        layer = found["layer3.1.conv1"]
        assert layer.base.endswith("256x128x64 s3 w8")
        assert layer.new.endswith("128x256x64 s3 w4")
        spill = next(change for change in layer.changes if change.fact == "spill")
        assert (spill.base, spill.verdict) == (0, "worse")
        assert spill.new > 0


class TestCarried:
    """Counters of executions that need not be made again."""

    def test_what_is_the_same(self):
        base = small_file()["sm_90"]
        new = {n: {g: f for g, f in e.items() if g != "executed"} for n, e in base.items()}
        assert carried(base, new) == base

    def test_other_code_a_new_instance_and_none(self):
        base = small_file()["sm_90"]
        (name,) = [name for name in base if name.startswith("maxpool")]
        new = {**base, name: {"compiled": {**base[name]["compiled"], "code": "other"}}}
        assert carried(base, new)[name] == new[name]
        assert carried({}, new) == new

    def test_another_plan(self):
        base = small_file()["sm_90"]
        (name,) = [name for name in base if name.startswith("maxpool")]
        for batch in (1, 256):
            new = {**base, name: {"compiled": base[name]["compiled"]}}
            new[f"plan b{batch}"] = {"plan": {**base["plan b1"]["plan"], "launches": 3}}
            assert carried(base, new)[name] == new[name]


class TestFile:
    def test_round_trip_a_line_an_entry(self, tmp_path):
        path, targets = tmp_path / "b.json", small_file()
        write(path, targets)
        assert read(path).targets == targets
        assert len(path.read_text().splitlines()) == len(targets["sm_90"]) + 4
        assert [file.name for file in tmp_path.iterdir()] == ["b.json"]

    def test_a_file_that_cannot_be_written_stays(self, tmp_path, monkeypatch):
        path = tmp_path / "b.json"
        path.write_text("old")

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        with pytest.raises(ConfigError, match=r"b\.json cannot be written: No space left"):
            write(path, small_file())
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("b.json", "old")]

    def test_not_there(self, tmp_path):
        with pytest.raises(RecordError, match=r"cannot be read: No such file.*`r2n gate --update`"):
            read(tmp_path / "b.json")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("", r"b\.json is damaged: Expecting value.*`r2n gate --update`"),
            ("<<<<<<< HEAD\n{}", "is damaged"),
            ("\xff", "is damaged"),
            ("[]", "has no 'schema', so it is no baseline"),
            ('{"triton": "3.8.0"}', "has no 'schema'"),
            ('{"schema": 0}', "has schema 0, expected 1"),
            ('{"schema": 1}', "'triton' must be a version, got None"),
            ('{"schema": 1, "triton": "3", "targets": {}}', "holds no target"),
            ('{"schema": 1, "triton": "3", "targets": {"sm_90": {}}}', "or one without entries"),
            (
                '{"schema": 1, "triton": "3", "targets": {"sm_1": {"a": 1}}}',
                "unknown target 'sm_1'",
            ),
            ('{"schema": 1, "triton": "3", "targets": {"sm_90": [1]}}', "sm_90 must be an object"),
        ],
    )
    def test_damaged_foreign_or_empty(self, tmp_path, content, reason):
        path = tmp_path / "b.json"
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(RecordError, match=reason):
            read(path)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda s: s.update(fc={"plan": {}}), "'fc' names neither a plan nor an instance"),
            (lambda s: s["plan b1"].pop("plan"), "expected a plan, or compiled and executed"),
            (lambda s: s["plan b1"]["plan"].pop("launches"), "plan: lacks.*: launches"),
            (lambda s: s["plan b1"]["plan"].update(x=1), "has unknown: x"),
            (lambda s: s["plan b1"].update(plan=[]), r"plan must be an object, got \[\]"),
        ],
    )
    def test_an_entry_that_is_not_whole(self, tmp_path, change, reason):
        content = json.loads(text(Baseline("3.8.0", small_file())))
        change(content["targets"]["sm_90"])
        path = tmp_path / "b.json"
        path.write_text(json.dumps(content))
        with pytest.raises(RecordError, match=reason):
            read(path)

    def test_default_outside_of_a_checkout(self, monkeypatch, tmp_path):
        monkeypatch.setattr(baseline_file, "CHECKOUT", tmp_path)
        with pytest.raises(ConfigError, match="not run from a checkout; name a file: --baseline"):
            default_path()


def test_every_fact_has_a_rule(rows):
    """Of a small network, compiled."""
    from r2n_kernels.compiled.baseline import compiled_facts, executed_facts
    from r2n_kernels.emulator import Counters

    assert compiled_facts(rows["maxpool"]).keys() == RULES["compiled"].keys()
    assert executed_facts(Counters()).keys() == RULES["executed"].keys()
    assert plan_facts(plan_of(requests()[0])).keys() == RULES["plan"].keys()
