"""The command as a whole: help, exit codes, and what the process around it may do."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import re
import signal
import threading
import warnings

import numpy as np
import pytest
import torch

from r2n_kernels import __version__, cli
from r2n_kernels.cli import main

COMMANDS = [
    *("demo", "classify", "embed", "features", "parity", "models"),
    *("inspect", "selftest", "warm", "tune", "bench", "compare", "report", "gate", "roofline"),
]


@contextlib.contextmanager
def terminal():
    """Two file descriptors: our side of a terminal, and the one that a process writes to."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def read_until(ours, mark=None):
    """All that appears on the terminal up to the mark, or until its other side is closed."""
    seen = b""
    with contextlib.suppress(OSError):  # how Linux tells that it is closed
        while not (mark and mark in seen) and (part := os.read(ours, 65536)):
            seen += part
    return seen


class TestHelp:
    def test_lists_the_commands(self, capsys):
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert re.findall(r"^    (\w+) ", out, re.MULTILINE) == COMMANDS
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
        module = next(m for m in cli.COMMANDS if m.__name__.endswith(f".{command}"))
        examples = re.findall(r"^  r2n (.*)$", module.EXAMPLES, re.MULTILINE)
        assert examples
        for example in examples:
            args = cli.build_parser().parse_args(example.replace("'", "").split())
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

        monkeypatch.setattr(cli.models, "run", fail)
        assert main(["models"]) == code
        assert capsys.readouterr().err.startswith(line)

    def test_a_bug_is_not_hidden(self, monkeypatch):
        def fail(*_):
            raise RuntimeError("a bug")

        monkeypatch.setattr(cli.models, "run", fail)
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


class TestProcess:
    """`r2n` as a process of its own."""

    @pytest.mark.parametrize(
        ("command", "number", "code"),
        [("classify", signal.SIGINT, 130), ("embed", signal.SIGTERM, 143)],
    )
    def test_stopped_run_keeps_its_rows(self, spawn, links, model, tmp_path, command, number, code):
        folder = links(8000)
        suffix = {"classify": "jsonl", "embed": "npz"}[command]
        output = tmp_path / f"out.{suffix}"
        with terminal() as (ours, theirs):
            process = spawn(command, str(folder), *model, "--output", str(output), stderr=theirs)
            os.close(theirs)
            seen = read_until(ours, b"img/s")  # a batch is done
            process.send_signal(number)
            seen += read_until(ours)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == code
        assert out == b""
        partial = tmp_path / f"out.{suffix}.partial"
        assert sorted(p.name for p in tmp_path.glob("out.*")) == [partial.name]
        if command == "classify":
            paths = [json.loads(line)["path"] for line in partial.read_text().splitlines()]
        else:
            with np.load(partial) as data:
                paths = data["paths"].tolist()
                assert len(data["embeddings"]) == len(paths)
        assert 0 < len(paths) < 8000
        assert paths == sorted(map(str, folder.iterdir()))[: len(paths)]
        kept, stopped = seen.decode().rpartition("\x1b[K")[2].splitlines()
        assert kept == f"ended early: rows kept in {str(partial)!r}: {len(paths)}"
        assert stopped == "r2n: stopped"

    def test_reader_that_leaves(self, spawn, links, model):
        process = spawn("classify", str(links(3000)), *model, "--topk", "1")
        assert process.stdout.readline().split() == b"path status probability index label".split()
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        (origin,) = process.stderr.read().decode().splitlines()
        assert origin.startswith("weights from ")

    def test_progress_on_a_terminal(self, spawn, links, model):
        with terminal() as (ours, theirs):
            process = spawn("classify", str(links(40)), *model, "--topk", "1", stderr=theirs)
            os.close(theirs)
            seen = read_until(ours).decode()
        out = process.stdout.read().decode()
        assert process.wait(timeout=60) == 0
        assert out.count("%      4  eel\n") == 40
        assert "\x1b" not in out
        assert "] 0/40" in seen
        assert re.search(r"\[#{24}\] 40/40  [\d.]+ img/s  0:00 left\r\x1b\[K", seen)
        assert re.search(r"\x1b\[K40 images: 40 ok, 0 failed, [\d.]+ img/s\r\n$", seen)

    def test_rows_and_bar_on_one_terminal(self, spawn, links, model):
        """The bar is erased before rows are printed."""
        with terminal() as (ours, theirs):
            arguments = ["classify", str(links(20)), *model, "--topk", "1"]
            process = spawn(*arguments, stdout=theirs, stderr=theirs)
            os.close(theirs)
            seen = read_until(ours).decode()
        assert process.wait(timeout=60) == 0
        shown = [line.rpartition("\x1b[K")[2] for line in seen.split("\r\n")]
        assert len([line for line in shown if line.endswith("%      4  eel")]) == 20
        assert not any("img/s  0:00 left" in line for line in shown)

    def test_names_on_an_ascii_terminal(self, spawn, hostile, tmp_path, model):
        ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        process = spawn("classify", str(tmp_path / "in"), *model, "--topk", "1", env=ascii_only)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        lines = out.decode("ascii").splitlines()
        assert sum("error" in line for line in lines) == 4
        assert any("caf\\xe9.png" in line for line in lines)
        assert b"Warning" not in err

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
    def test_full_disk(self, spawn):
        with open("/dev/full", "w") as full:
            process = spawn("models", stdout=full)
        assert process.stderr.read() == b"r2n: error: No space left on device\n"
        assert process.wait(timeout=60) == 2

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
