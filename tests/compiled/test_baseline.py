"""The accepted summaries: this repository's file, and files that are not as they should be."""

from __future__ import annotations

import json

import pytest

from r2n_kernels.compiled import baseline
from r2n_kernels.compiled.baseline import Baseline, default_path, read, text, write
from r2n_kernels.compiled.gate import brief, compare, record, table
from r2n_kernels.compiled.inspection import Key
from r2n_kernels.compiled.summary import TARGETS, Entry
from r2n_kernels.errors import ConfigError, RecordError

from ..mutations import mutations


@pytest.fixture
def small() -> dict[Key, Entry]:
    """What was accepted of one target, cut to two plans and an instance."""
    found = read(default_path()).targets["sm_90"]
    return {key: entry for key, entry in found.items() if key.step in ("plan", "maxpool")}


def test_the_accepted_one_is_whole_and_small():
    found = read(default_path())
    assert tuple(found.targets) == TARGETS
    assert all(len(summary) > 50 for summary in found.targets.values())
    assert default_path().stat().st_size < 2e6
    assert default_path().read_text() == text(found)


def test_round_trip_a_line_an_entry(tmp_path, small):
    path, targets = tmp_path / "b.json", {"sm_90": small}
    write(path, targets)
    assert read(path).targets == targets
    assert len(path.read_text().splitlines()) == len(targets["sm_90"]) + 4
    assert [file.name for file in tmp_path.iterdir()] == ["b.json"]


@pytest.mark.usefixtures("full_disk")
def test_a_file_that_cannot_be_written_stays(tmp_path, small):
    path = tmp_path / "b.json"
    path.write_text("old")
    with pytest.raises(ConfigError, match=r"b\.json cannot be written: No space left"):
        write(path, {"sm_90": small})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("b.json", "old")]


def test_not_there(tmp_path):
    with pytest.raises(RecordError, match=r"cannot be read: No such file.*`r2n gate --update`"):
        read(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", r"b\.json is damaged: it is no JSON: Expecting value.*`r2n gate --update`"),
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
def test_damaged_foreign_or_empty(tmp_path, content, reason):
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
def test_an_entry_that_is_not_whole(tmp_path, small, change, reason):
    content = json.loads(text(Baseline("3.8.0", {"sm_90": small})))
    change(content["targets"]["sm_90"])
    path = tmp_path / "b.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=reason):
        read(path)


def test_default_outside_of_a_checkout(monkeypatch):
    monkeypatch.setattr(baseline, "source_tree", lambda: None)
    with pytest.raises(ConfigError, match="not run from a checkout; name a file: --baseline"):
        default_path()


def ask(path, mutated: bytes, small) -> bool:
    """Whether it is taken; then it can be compared, shown and written, too."""
    path.write_bytes(mutated)
    try:
        found = read(path)
    except RecordError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert refusal.isprintable()
    if refusal:
        assert refusal.startswith("baseline ")
        return False
    differences = [d for name in found.targets for d in compare(name, found.targets[name], small)]
    table({"sm_90": small}, differences).encode()
    json.dumps([record(d) for d in differences], allow_nan=False)
    [brief(d) for d in differences]
    return True


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_files_of_strangers(count, tmp_path, small):
    """Mutated ones are taken, or refused in one sentence."""
    good = text(Baseline("3.8.0", {"sm_90": small}))
    assert ask(tmp_path / "b.json", good.encode(), small)
    taken = [ask(tmp_path / "b.json", m, small) for m in mutations(good, count, count)]
    assert 0.02 < sum(taken) / count < 0.9
