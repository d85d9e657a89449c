"""What is summarised, that a removed fusion and a spill are noticed, and what is carried over."""

from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.compiled.baseline import default_path, read
from r2n_kernels.compiled.gate import RULES, compare
from r2n_kernels.compiled.inspection import Key, inspect
from r2n_kernels.compiled.instances import plan_of
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.compiled.summary import (
    TARGETS,
    Entry,
    carried,
    code_hash,
    compiled_facts,
    executed_facts,
    plan_facts,
    requests,
    summaries,
)
from r2n_kernels.emulator import Counters
from r2n_kernels.kernels import tile_rules

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
SPILLS = "import r2n_kernels.kernels.tile_rules as rules; rules.TALL = (128, 256, 4)"


@pytest.fixture
def small() -> dict[Key, Entry]:
    """What was accepted of one target, cut to two plans and an instance."""
    found = read(default_path()).targets["sm_90"]
    return {key: entry for key, entry in found.items() if key.step in ("plan", "global_pool")}


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
    """Against the file of this repository."""

    def test_plans(self, check_accepted, baseline):
        found = summaries(requests(), [])
        for target, plans in found.items():
            plans.update({n: e for n, e in baseline[target].items() if n not in plans})
        check_accepted(found)

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_removed_fusion_is_worse(self, baseline, target):
        """At batch 256, a stage in one launch per split."""
        request = requests(batches=[256], targets=[target])[0]
        split = plan_of(dataclasses.replace(request, schedule="latency"))
        new = {**baseline[target], Key("plan", (256,)): {"plan": plan_facts(split)}}
        (found,) = compare(target, baseline[target], new)
        worse = {c.fact: (c.base, c.new) for c in found.changes if c.verdict == "worse"}
        assert found.verdict == "worse"
        assert worse["launches"] == (103, 162)
        assert {"bytes read", "bytes written"} < worse.keys()

    @pytest.mark.weekly  # cli/test_gate.py has a spill that is quicker to compile
    def test_a_spill_is_worse(self, baseline, monkeypatch):
        """128x256 tiles for 4 warps, by the rule of tiles, where the plan and the workers read it.

        Only conv1 at batch 256 is compiled, and compared.
        """
        monkeypatch.setattr(tile_rules, "TALL", (128, 256, 4))
        wanted = requests(batches=[256], targets=["sm_80"])
        with Pool(1) as pool:
            list(pool.map(exec, [SPILLS]))
            new = summaries(wanted, inspect(wanted, pool, kernel="conv1"))["sm_80"]
        steps = {(key.step, key.batches[-1]) for key in new}
        base = {k: e for k, e in baseline["sm_80"].items() if (k.step, k.batches[-1]) in steps}
        found = {d.new.step: d for d in compare("sm_80", base, new) if d.new}
        layer = found["layer3.1.conv1"]
        assert layer.base.words[-3:] == ("256x128x64", "s3", "w8")
        assert layer.new.words[-3:] == ("128x256x64", "s3", "w4")
        spill = next(change for change in layer.changes if change.fact == "spill")
        assert (spill.base, spill.verdict) == (0, "worse")
        assert spill.new > 0


def test_carried_what_is_the_same(small):
    base = small
    new = {n: {g: f for g, f in e.items() if g != "executed"} for n, e in base.items()}
    assert carried(base, new) == base


def test_carried_other_code_a_new_instance_and_none(small):
    base = small
    (key,) = [key for key in base if key.step == "global_pool"]
    new = {**base, key: {"compiled": {**base[key]["compiled"], "code": "other"}}}
    assert carried(base, new)[key] == new[key]
    assert carried({}, new) == new


def test_carried_another_plan(small):
    base = small
    (key,) = [key for key in base if key.step == "global_pool"]
    for batch in (1, 256):
        new = {**base, key: {"compiled": base[key]["compiled"]}}
        new[Key("plan", (batch,))] = {"plan": {**base[Key("plan", (1,))]["plan"], "launches": 3}}
        assert carried(base, new)[key] == new[key]


def test_every_fact_has_a_rule(rows):
    """Of a small network, compiled."""
    assert compiled_facts(rows["maxpool"]).keys() == RULES["compiled"].keys()
    assert executed_facts(Counters()).keys() == RULES["executed"].keys()
    assert plan_facts(plan_of(requests()[0])).keys() == RULES["plan"].keys()
