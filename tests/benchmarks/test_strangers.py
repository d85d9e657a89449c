"""Records of strangers give a verdict or one named error, never a traceback."""

from __future__ import annotations

import json

import pytest

from r2n_kernels.benchmarks.records import append, read
from r2n_kernels.benchmarks.report import data, writer
from r2n_kernels.benchmarks.report.links import Links
from r2n_kernels.benchmarks.report.output import build
from r2n_kernels.benchmarks.report.text import Names
from r2n_kernels.cli import main
from r2n_kernels.errors import R2NError

from ..mutations import mutations
from .runs import runs


@pytest.fixture
def line(record) -> str:
    (one,) = runs(record, [0.1], peak=[1e11], labels={"runner": "a"}, branch="main", code="ab",
                  wall=((0.1,),), host=((0.1,),), pull_request=3, bytes_l2=7)  # fmt: skip
    return one.to_json()


def ask(folder, line, mutated, command, capsys) -> int:
    """Run a command on five good runs and a mutated one; what it prints can be shown."""
    good, bad = folder / "good.jsonl", folder / "bad.jsonl"
    good.write_text(f"{line}\n")
    bad.write_bytes(f"{line}\n".encode() * 5 + mutated + b"\n")
    files = [str(bad), str(good)] if command == "compare" else [str(bad)]
    code = main([command, *files, "--json", "-"])
    out, err = capsys.readouterr()
    assert code == 2 or not err or "unfinished lines" in err
    assert err.count("\n") <= 2
    (out + err).encode()
    if out:
        json.loads(out, parse_constant=lambda name: pytest.fail(name))
    return code


@pytest.mark.parametrize("command", ["compare", "history"])
def test_commands(tmp_path, line, command, capsys):
    codes = {ask(tmp_path, line, m, command, capsys) for m in mutations(line, 150, 0)}
    assert 2 in codes
    assert codes <= {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compare", "history"])
def test_commands_with_many(tmp_path, line, command, capsys):
    for mutated in mutations(line, 1500, 1):
        assert ask(tmp_path, line, mutated, command, capsys) in (0, 1, 2)


def parsed(folder, record, mutated):
    """What the report is given: good records and a mutated one; None where it is refused."""
    path = folder / "records.jsonl"
    path.unlink(missing_ok=True)
    for one in runs(record, [0.1, 0.2], [0.3, 0.4], peak=[1e11, 1e11]):
        append(path, one)
    with open(path, "ab") as file:
        file.write(mutated + b"\n")
    try:
        return read(path).records
    except R2NError:
        return None


def test_what_a_report_computes(tmp_path, record, line):
    """All but its charts, which take seconds."""
    taken = 0
    for mutated in mutations(line, 150, 2):
        records = parsed(tmp_path, record, mutated)
        try:
            past, names = data.history(records or []), Names.of(records or [])
        except R2NError:
            continue
        writer.machines_table(records or [], names)
        writer.commits_table(records or [], names, Links())
        columns = [*writer.OF_A_RECORD, *writer.OF_A_CHANGE]
        writer.Writer(names, past).table("c", columns, records or [])
        taken += records is not None
    assert taken > 10


@pytest.mark.slow
def test_a_report(tmp_path, record, line):
    built = 0
    for mutated in mutations(line, 120, 3):
        records = parsed(tmp_path, record, mutated)
        if records and len(records) == 5 and built < 10:
            built += 1
            try:
                build(records, ["a.jsonl"]).html.encode()
            except R2NError:
                continue
    assert built == 10
