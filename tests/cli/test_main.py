"""The command as a whole: help, exit codes, and what the process around it may do."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from r2n_kernels import __version__
from r2n_kernels.cli import COMMANDS, build_parsers, main, models

LIMIT_S = 0.3  # of an answer that needs no torch
TRIES = 10  # the machine may be busy during some of them
# Runs main on argv; prints its exit code, the seconds since its start, and whether torch is there.
TIMED = """
import time; start = time.perf_counter()
import sys
from r2n_kernels.cli import main
code = main(sys.argv[1:])
print(code, time.perf_counter() - start, "torch" in sys.modules)
"""


@contextlib.contextmanager
def terminal():
    """Two file descriptors: our side of a terminal, and the one that a process writes to."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def read_until(ours, pattern=None):
    """All that appears on the terminal up to the pattern, or until its other side is closed."""
    seen = b""
    with contextlib.suppress(OSError):  # how Linux tells that it is closed
        while not (pattern and re.search(pattern, seen)) and (part := os.read(ours, 65536)):
            seen += part
    return seen


def on_terminal(arguments, *streams):
    """The exit code of r2n, whose streams of these names are a terminal, and what this shows."""
    with (
        terminal() as (ours, theirs),
        ThreadPoolExecutor() as reader,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TERM", "xterm")
        seen = reader.submit(read_until, ours)
        with open(theirs, "w") as file:
            for name in streams:
                patch.setattr(sys, name, file)
            code = main(arguments)
        return code, seen.result().decode()


class TestHelp:
    def test_lists_the_commands(self, capsys):
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert re.findall(r"^    (\w+) ", out, re.MULTILINE) == list(COMMANDS)
        assert "exit codes:" in out

    @pytest.mark.parametrize("command", COMMANDS)
    def test_has_examples_and_exit_codes(self, capsys, monkeypatch, command):
        monkeypatch.setenv("COLUMNS", "80")
        assert main([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"examples:\n  r2n {command}" in out
        assert "exit codes:" in out
        assert max(map(len, out.splitlines())) < 80

    @pytest.mark.parametrize("command", COMMANDS)
    def test_examples_parse(self, command):
        module = importlib.import_module(f"r2n_kernels.cli.{command}")
        examples = re.findall(r"^  r2n (.*)$", module.EXAMPLES, re.MULTILINE)
        assert examples
        for example in examples:
            args = build_parsers(command)[0].parse_args(example.replace("'", "").split())
            assert args.run is module.run

    def test_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"r2n_kernels {__version__}\n"

    @pytest.mark.parametrize("arguments", [[], ["clasify"], ["models", "--siz", "64"]], ids=str)
    def test_wrong_usage(self, capsys, arguments):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("usage: r2n")

    @pytest.mark.parametrize(
        ("arguments", "meant"),
        [
            (["clasify", "a.png"], "classify"),
            (["models", "--siz", "64"], "--size"),
            (["models", "--sizes=64"], "--size"),
            (["embed", "a.png", "--outptu", "x"], "--output"),  # argparse: --output is required
            (["gate", "-jobs", "2"], "--jobs"),
        ],
        ids=str,
    )
    def test_typo(self, capsys, arguments, meant):
        assert main(arguments) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"r2n: did you mean {meant}?"

    @pytest.mark.parametrize(
        "arguments", [["zzz"], ["models", "--zzz"], ["models", "--size", "-1"], []], ids=str
    )
    def test_nothing_like_it(self, capsys, arguments):
        assert main(arguments) == 2
        assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["classify", "--help"], 0),
        (["clasify"], 2),
        (["classify", "a.png", "--modle", "x"], 2),
        (["classify", "a.png", "--batch-size", "0"], 2),
    ],
    ids=str,
)
def test_answers_at_once(arguments, code, tmp_path):
    """Without torch, which takes more than a second to import."""
    times = []
    for _ in range(TRIES):
        command = [sys.executable, "-c", TIMED, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        found, seconds, torch_is_there = done.stdout.splitlines()[-1].split()
        assert (int(found), torch_is_there) == (code, "False")
        times.append(float(seconds))
        if times[-1] < LIMIT_S:
            return
        time.sleep(1)
    pytest.fail(f"r2n {' '.join(arguments)} takes {min(times):.2f} s; {LIMIT_S} s allowed")


def test_no_help_imports_torch(tmp_path):
    code = f"""
import sys
from r2n_kernels.cli import main
print([c for c in {list(COMMANDS)} if main([c, "--help"]) or "torch" in sys.modules])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


class TestErrors:
    """What a command raises, as exit code and one line."""

    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (OSError(28, "No space left on device"), 2, "r2n: error: No space left on device"),
            (PermissionError(13, "Permission denied", "f"), 2, "r2n: error: Permission denied: f"),
            (MemoryError(), 2, "r2n: error: not enough memory; try a smaller batch"),
            (torch.OutOfMemoryError("CUDA out of memory"), 2, "r2n: error: not enough memory"),
            (RuntimeError("DefaultCPUAllocator: can't"), 2, "r2n: error: not enough memory"),
            (KeyboardInterrupt(), 130, "r2n: stopped"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
    )
    def test_known(self, capsys, monkeypatch, error, code, line):
        def fail(*_):
            raise error

        monkeypatch.setattr(models, "run", fail)
        assert main(["models"]) == code
        assert capsys.readouterr().err.startswith(line)

    def test_a_bug_is_not_hidden(self, monkeypatch):
        def fail(*_):
            raise RuntimeError("a bug")

        monkeypatch.setattr(models, "run", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            main(["models"])


def test_process_is_left_as_it_was():
    def settings():
        ours = logging.getLogger("r2n_kernels")
        return (
            ours.level,
            list(ours.handlers),
            logging.getLogger("PIL").level,
            list(warnings.filters),
            signal.getsignal(signal.SIGTERM),
            signal.getsignal(signal.SIGHUP),
        )

    before = settings()
    assert main(["models"]) == 0
    assert settings() == before


def test_runs_where_the_streams_are_closed(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    assert main(["models"]) == 0
    assert main(["models", "--size", "1"]) == 2
    assert main(["parity", "--model", "none"]) == 2


def test_runs_in_any_thread():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["models"])))
    thread.start()
    thread.join()
    assert codes == [0]


class TestTerminal:
    def test_progress(self, capsys, links, model):
        arguments = ["classify", str(links(40)), *model, "--topk", "1"]
        code, seen = on_terminal(arguments, "stderr")
        out = capsys.readouterr().out
        assert code == 0
        assert out.count("%      4  eel\n") == 40
        assert "\r" not in out
        assert " 0/40 [" in seen
        assert re.search(r"100%\|.* 40/40 \[.*img/s\] *\r +\r", seen)
        assert re.search(r"\rdecoding .*\r\n40 images: 40 ok, 0 failed, [\d.]+ img/s\r\n$", seen)

    def test_rows_and_bar(self, links, model):
        """The bar is erased before rows are printed."""
        arguments = ["classify", str(links(20)), *model, "--topk", "1"]
        code, seen = on_terminal(arguments, "stdout", "stderr")
        assert code == 0
        shown = [line.rpartition("\r")[2] for line in seen.split("\r\n")]
        assert len([line for line in shown if line.endswith("%      4  eel")]) == 20
        assert not any("/20 [" in line for line in shown)


def test_reader_that_leaves(capfd, monkeypatch, links, model):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["classify", str(links(20)), *model, "--topk", "1"]) == 141
    origin, _, where = capfd.readouterr().err.splitlines()
    assert origin.startswith("weights from ")
    assert where.startswith("runs on cpu: ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_full_disk(capfd, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main(["models"]) == 2
    assert capfd.readouterr().err == "r2n: error: No space left on device\n"


class TestProcess:
    """`r2n` as a process of its own."""

    @pytest.mark.parametrize(
        ("command", "number", "code"),
        [
            ("classify", signal.SIGINT, 130),
            pytest.param("embed", signal.SIGTERM, 143, marks=pytest.mark.slow),
        ],
    )
    def test_stopped_run_keeps_its_rows(self, spawn, links, model, tmp_path, command, number, code):
        folder = links(8000)
        suffix = {"classify": "jsonl", "embed": "npz"}[command]
        output = tmp_path / f"out.{suffix}"
        with terminal() as (ours, theirs):
            process = spawn(command, str(folder), *model, "--output", str(output), stderr=theirs)
            os.close(theirs)
            seen = read_until(ours, rb" [1-9]\d*/8000")  # a batch is done
            process.send_signal(number)
            seen += read_until(ours)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == code
        assert out == b""
        partial = tmp_path / f"out.{suffix}.partial"
        assert sorted(p.name for p in tmp_path.glob("out.*")) == [partial.name]
        lines = (partial / "rows.jsonl").read_text().splitlines()
        paths = [json.loads(line)["path"] for line in lines]
        if command == "embed":
            assert np.fromfile(partial / "vectors.bin", "<f4").size == 128 * len(paths)
        assert 0 < len(paths) < 8000
        assert paths == sorted(map(str, folder.iterdir()))[: len(paths)]
        kept, stopped = seen.decode().splitlines()[-2:]
        told = f"ended early: {len(paths)} rows kept in {str(partial)!r}; go on with --resume"
        assert kept == told
        assert stopped == "r2n: stopped"

    def test_names_on_an_ascii_terminal(self, spawn, hostile, tmp_path, model):
        ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        process = spawn("classify", str(tmp_path / "in"), *model, "--topk", "1", env=ascii_only)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        lines = out.decode("ascii").splitlines()
        assert sum("error" in line for line in lines) == 4
        assert any("caf\\xe9.png" in line for line in lines)
        assert b"Warning" not in err

    @pytest.mark.slow
    def test_memory_does_not_grow_with_the_folder(self, spawn, links, model, tmp_path):
        peaks = []
        for count in (200, 2000):
            folder = links(count, size=(640, 427))
            process = spawn("embed", str(folder), *model, "--output", str(tmp_path / "out.npz"))
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            peaks.append(usage.ru_maxrss / 1024)
        assert peaks[1] - peaks[0] < 40, f"MiB at 200 and 2000 images: {peaks}"
