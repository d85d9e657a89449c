"""Comparing summaries, and how differences are shown."""

from __future__ import annotations

import json

import pytest

from r2n_kernels.compiled.gate import RULES, brief, compare, counts, record, table, title
from r2n_kernels.compiled.inspection import Key

PLAN = {"plan": dict.fromkeys(RULES["plan"], 100)}
COMPILED = {
    "uses": 2, "programs": 64, "registers": 128, "spill": 0, "shared": 4096, "instructions": 900,
    "barriers": 4, "tensor cores": True, "loop": 16, "load": 8, "store": 16, "code": "a" * 12,
}  # fmt: skip
EXECUTED = {
    "run macs": 500, "run instructions": 700, "l2": 4096, "once": 1024, "loads": 1.0, "stores": 0.9,
    "conflicts": 0.0,
}  # fmt: skip
CONV1 = "layer3.1.conv1 b1 conv1 14x14 1024->416 "
SMALL, LARGE = CONV1 + "32x32x64 s4 w4", CONV1 + "128x128x64 s3 w4"


def instance(**changes):
    """An entry, with other facts where they are named; blanks of their names as underscores."""
    named = {name.replace("_", " "): value for name, value in changes.items()}
    groups = {"compiled": COMPILED, "executed": EXECUTED}
    return {g: {f: named.get(f, v) for f, v in facts.items()} for g, facts in groups.items()}


def summary(entries):
    return {Key.parse(name): entry for name, entry in entries.items()}


def differences(new, base=None):
    return compare("sm_90", summary(base or {"plan b1": PLAN, SMALL: instance()}), summary(new))


def test_the_fixtures_have_every_fact():
    assert COMPILED.keys() == RULES["compiled"].keys()
    assert EXECUTED.keys() == RULES["executed"].keys()


def test_nothing_differs():
    assert differences({"plan b1": PLAN, SMALL: instance()}) == []


@pytest.mark.parametrize(
    ("fact", "value", "verdict"),
    [
        ("registers", 129, "worse"),
        ("registers", 127, "better"),
        ("spill", 8, "worse"),
        ("shared", 8192, "worse"),
        ("instructions", 901, "worse"),
        ("barriers", 5, "worse"),
        ("barriers", 3, "changed"),
        ("tensor_cores", False, "worse"),
        ("loop", 8, "worse"),
        ("loop", None, "changed"),
        ("load", 4, "worse"),
        ("load", 16, "better"),
        ("store", 8, "worse"),
        ("code", "b" * 12, "changed"),
        ("uses", 3, "changed"),
        ("programs", 32, "changed"),
        ("run_macs", 501, "worse"),
        ("run_instructions", 699, "better"),
        ("l2", 4097, "worse"),
        ("once", 1025, "worse"),
        ("loads", 0.999, "worse"),
        ("stores", 1.0, "better"),
        ("conflicts", 0.001, "worse"),
    ],
)
def test_each_fact_of_an_instance(fact, value, verdict):
    (found,) = differences({"plan b1": PLAN, SMALL: instance(**{fact: value})})
    assert [change.new for change in found.changes] == [value]
    assert found.verdict == verdict


@pytest.mark.parametrize("fact", RULES["plan"])
def test_each_fact_of_a_plan(fact):
    for value, verdict in ((101, "worse"), (99, "better")):
        (found,) = differences(
            {"plan b1": {"plan": {**PLAN["plan"], fact: value}}, SMALL: instance()}
        )
        assert found.verdict == ("changed" if fact == "macs" else verdict)


def test_what_was_not_executed_is_not_compared():
    compiled = {SMALL: {"compiled": COMPILED}, "plan b1": PLAN}
    assert differences(compiled) == []


def test_any_worse_fact_makes_it_worse():
    changed = instance(registers=64, instructions=901, code="b" * 12)
    (found,) = differences({"plan b1": PLAN, SMALL: changed})
    assert found.verdict == "worse"
    assert brief(found) == f"worse: {SMALL}: instructions 900 -> 901, registers 128 -> 64"
    (found,) = differences({"plan b1": PLAN, SMALL: instance(registers=64, code="b" * 12)})
    assert found.verdict == "better"


def test_another_tile_is_the_same_instance():
    (found,) = differences({"plan b1": PLAN, LARGE: instance(registers=255, spill=56)})
    assert title(found) == f"{SMALL} -> 128x128x64 s3 w4"
    facts = "registers 128 -> 255, spill 0 -> 56"
    assert brief(found) == f"worse: {SMALL} -> 128x128x64 s3 w4: {facts}"


def test_another_tile_and_equal_facts():
    (found,) = differences({"plan b1": PLAN, LARGE: instance()})
    assert brief(found) == f"changed: {SMALL} -> 128x128x64 s3 w4"


def test_renamed_are_matched_by_step_batch_and_kernel():
    base = {
        "layer1.1.convs b1 stage_split x": instance(),
        "layer1.1.convs b256 stage_chained x": instance(),
        "layer2.1.convs b256 stage_chained x": instance(),
        "fc b1,256 linear x": instance(),
    }
    new = {
        "layer1.1.convs b1,256 stage_split y": instance(),  # of two that it stands for, its kernel
        "layer2.1.convs b256 stage_split y": instance(),  # another kernel for the same step
        "fc b1 linear y": instance(),
        "fc b256 linear x": instance(),
    }
    found = {(d.base and str(d.base), d.new and str(d.new)) for d in differences(new, base)}
    assert found == {
        ("layer1.1.convs b1 stage_split x", "layer1.1.convs b1,256 stage_split y"),
        ("layer2.1.convs b256 stage_chained x", "layer2.1.convs b256 stage_split y"),
        ("fc b1,256 linear x", "fc b1 linear y"),
        (None, "fc b256 linear x"),
        ("layer1.1.convs b256 stage_chained x", None),
    }


def test_new_and_gone():
    (gone,) = differences({"plan b1": PLAN})
    assert (title(gone), gone.verdict) == (f"{SMALL} is gone", "changed")
    both = {"plan b1": PLAN, SMALL: instance()}
    (new,) = differences({**both, "fc b1 linear": instance()})
    assert (title(new), new.verdict) == ("fc b1 linear is new", "changed")
    (spilling,) = differences({**both, "fc b1 linear": instance(spill=8)})
    assert brief(spilling) == "worse: fc b1 linear is new: spill 0 -> 8"


@pytest.mark.parametrize("group", ["compiled", "executed"])
@pytest.mark.parametrize("name", [SMALL, LARGE, "fc b1 linear"])
def test_an_instance_that_no_longer_compiles_or_runs(name, group):
    entry = {**instance(), group: {"error": "does not compile: out of registers\nand more"}}
    found = differences({"plan b1": PLAN, SMALL: instance(), name: entry})
    (broken,) = [difference for difference in found if difference.broken]
    assert (broken.name, broken.verdict) == (name, "worse")
    assert "    worse    does not compile: out of registers\n" in table({"sm_90": {}}, found)


def test_the_table():
    new = {
        "plan b1": {"plan": {**PLAN["plan"], "launches": 162, "bytes l2": 250}},
        LARGE: instance(spill=56, registers=96, tensor_cores=False, code="b" * 12),
        "fc b1 linear": instance(),
    }
    found = differences(new)
    lines = table({"sm_90": summary(new), "sm_80": {}}, found).splitlines()
    assert lines[:9] == [
        "sm_90: 3 entries, 2 worse, 1 changed",
        "  worse    plan b1",
        "    worse    launches                       100 ->                162  +62.0%",
        "    worse    bytes l2                       100 ->                250  +150.0%",
        f"  worse    {SMALL} -> 128x128x64 s3 w4",
        "    worse    spill                            0 ->                 56",
        "    worse    tensor cores                   yes ->                 no",
        "    better   registers                      128 ->                 96  -25.0%",
        "  changed  fc b1 linear is new",
    ]
    assert "sm_80: 0 entries, as in the baseline" in lines
    assert max(map(len, lines)) <= 100
    assert counts(found) == "2 worse, 1 changed"


def test_two_long_names_take_two_lines():
    base = {"layer3.1.convs b256 stage_chained 14x14 320->104 128x128x64 s3 w8": instance()}
    new = {"layer3.1.convs b256 stage_split 14x14 320->104 128x128x64 s3 w8": instance()}
    assert table({}, differences(new, base)).splitlines()[1:3] == [
        "  changed  layer3.1.convs b256 stage_chained 14x14 320->104 128x128x64 s3 w8",
        "           -> stage_split 14x14 320->104 128x128x64 s3 w8",
    ]


def test_the_hash_is_shown_where_nothing_else_differs():
    (found,) = differences({"plan b1": PLAN, SMALL: instance(code="b" * 12)})
    assert brief(found) == f"changed: {SMALL}: code aaaaaaaaaaaa -> bbbbbbbbbbbb"


def test_record_is_json():
    (found,) = differences({"plan b1": PLAN, LARGE: instance(spill=56)})
    assert json.loads(json.dumps(record(found))) == {
        "target": "sm_90", "base": SMALL, "new": LARGE, "verdict": "worse",
        "changes": [
            {"group": "compiled", "fact": "spill", "base": 0, "new": 56, "verdict": "worse"}
        ],
    }  # fmt: skip
