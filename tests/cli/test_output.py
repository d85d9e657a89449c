"""Files that commands write for machines: never over an input, never over a device."""

from __future__ import annotations

import json
import os
import stat
import threading
from xml.etree import ElementTree

import pytest

from r2n_kernels.cli import main
from r2n_kernels.cli.output import Case, check_output, write_json, write_junit
from r2n_kernels.errors import ConfigError


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "other.jsonl", "FILE", "--output", "FILE"],
        ["report", "FILE", "--output", "link"],
        ["compare", "FILE", "other.jsonl", "--json", "FILE"],
        ["compare", "other.jsonl", "FILE", "--junit", "link"],
        ["inspect", "FILE", "--json", "FILE"],
        ["inspect", "--run", "--input", "FILE", "--json", "link"],
        ["prove", "FILE", "--junit", "FILE"],
        ["gate", "--baseline", "FILE", "--json", "link"],
        ["build", "--target", "sm_80", "--weights", "FILE", "-o", "FILE"],
    ],
    ids=lambda words: f"{words[0]} {words[-2]} {words[-1]}",
)
def test_an_input_is_not_overwritten(arguments, tmp_path, monkeypatch, capsys):
    """`r2n report rec.jsonl --output rec.jsonl` would leave a page, and no records."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.r2n").write_text("hours of measurements")
    (tmp_path / "other.jsonl").write_text("more")
    (tmp_path / "link").symlink_to("m.r2n")
    assert main([word.replace("FILE", "m.r2n") for word in arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    option = {"-o": "--output"}.get(arguments[-2], arguments[-2])
    assert f"{option} '{arguments[-1].replace('FILE', 'm.r2n')}': it is one of the inputs" in err
    assert (tmp_path / "m.r2n").read_text() == "hours of measurements"
    assert (tmp_path / "link").is_symlink()


def test_refused_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output("--json", None)
    check_output("--json", "-", [None])
    with pytest.raises(ConfigError, match=r"--json 'no/r\.json': there is no such folder"):
        check_output("--json", "no/r.json")


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "other.jsonl", "--output", "NODE"],
        ["compare", "other.jsonl", "other.jsonl", "--junit", "NODE"],
        ["bench", "--record", "NODE"],
        ["bench", "--markdown", "NODE"],
        ["gate", "--baseline", "NODE", "--update"],
        ["classify", "other.jsonl", "--model", "digits", "--output", "NODE"],
        ["features", "other.jsonl", "--model", "digits", "--output", "NODE"],
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_a_device_stays_one(arguments, tmp_path, monkeypatch, capsys):
    """As root, a rename would make a file of the machine's null device; this node is the test's."""
    monkeypatch.chdir(tmp_path)
    suffix = {"classify": ".csv", "features": ".safetensors"}.get(arguments[0], ".jsonl")
    node = f"null{suffix}"
    try:
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes device nodes")
    (tmp_path / "other.jsonl").touch()
    assert main([word.replace("NODE", node) for word in arguments]) == 2
    assert "it is a device" in capsys.readouterr().err
    assert stat.S_ISCHR(os.stat(node).st_mode)


def test_a_pipe_gets_the_report(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    for write in (
        lambda: write_json(str(pipe), {"a": 1}),
        lambda: write_junit(str(pipe), "r2n", [Case("b", failure="no <good>")]),
    ):
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
        reader.start()
        write()
        reader.join(10)
    assert json.loads(got[0]) == {"a": 1}
    assert ElementTree.fromstring(got[1]).find("testcase/failure").get("message") == "no <good>"
    assert pipe.is_fifo()


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, full_disk):
    (tmp_path / "r.json").write_text("earlier")
    with pytest.raises(OSError, match="No space left"):
        write_json(str(tmp_path / "r.json"), {})
    assert (tmp_path / "r.json").read_text() == "earlier"


def test_junit_of_any_text(tmp_path):
    """Of all characters of the basic plane, those that XML lacks become escapes."""
    path, every = tmp_path / "a.xml", "".join(map(chr, range(0x10000))) + "\U0001f600"
    write_junit(str(path), "r2n", [Case(every, failure=every), Case("b", error="\x1b[31m\ud800")])
    first, second = ElementTree.parse(path).getroot()
    assert first.get("name") == first.find("failure").get("message")
    assert r"\x00\x01" in first.get("name")
    assert first.get("name").endswith("\ufffd\\ufffe\\uffff\U0001f600")
    assert second.find("error").get("message") == r"\x1b[31m\ud800"
