from __future__ import annotations

import os

import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.benchmarks import network
from r2n_kernels.cli import demo, main
from r2n_kernels.cli.bundled import expand
from r2n_kernels.measure.timing import Samples
from r2n_kernels.proof.parity import ParityRow
from r2n_kernels.proof.tolerance import Verdict


def test_digits(capsys):
    demo.digits()
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith("digit_")]
    assert len(rows) == 20
    assert all(row[1] == row[0].split("_")[1] for row in rows)
    right = sum(row[1] == row[2] for row in rows)
    assert right >= 19
    assert out.count("wrong") == 20 - right
    assert "held-out quarter of the set: " in out


def test_held_out_accuracy():
    correct, total = demo.held_out_accuracy(create_model(expand("digits"), True))
    assert total == 450
    assert correct / total >= 0.97


@pytest.fixture
def quick(monkeypatch):
    """Parity as told, on a small model, and no timing."""

    def arrange(error):
        def check(eager, x, dtype, **options):
            return [ParityRow(Verdict("logits", error, 1e-7, 1e-5, dtype), error)]

        def timed(bench, batch, height, width, dtype, device, *, rounds):
            assert (batch, height, width, rounds) == (4, 224, 224, 5)
            return [
                network.Result(peer, Samples(peer.subject, ((second,),)))
                for peer, second in zip(bench.peers, (2, 1), strict=True)
            ]

        monkeypatch.setattr(demo, "digits", lambda: None)
        monkeypatch.setattr("r2n_kernels.proof.parity.check_parity", check)
        monkeypatch.setattr(network.Bench, "run", timed)

    return arrange


def test_headline(capsys, quick):
    quick(1e-7)
    threads = torch.get_num_threads()
    assert main(["demo", "--threads", "1"]) == 0
    assert torch.get_num_threads() == threads
    out = capsys.readouterr().out
    assert "res2net101_26w_4s, seeded random weights" in out
    assert "parity: PASS" in out
    table = {tuple(line.split()) for line in out.splitlines()}
    assert ("parameters", "45.21", "M", "45.2", "M") in table
    assert ("MACs", "8.067", "G", "8.1", "G") in table
    assert ("activations", "18.45", "M", "18.4", "M") in table
    assert ("reference", "eager,", "channels_last", "2.0", "2000.0", "16.1") in table
    assert ("r2n_kernels,", "openvino", "4.0", "1000.0", "32.3") in table
    assert ("speed-up,", "median", "of", "5", "rounds:", "2.00x") in table


def test_no_throughput_without_parity(capsys, quick):
    quick(1.0)
    assert main(["demo"]) == 1
    out = capsys.readouterr().out
    assert "parity: FAIL" in out
    assert "img/s" not in out


@pytest.mark.parametrize("threads", ["0", "-1", "x"])
def test_wrong_threads(capsys, threads):
    assert main(["demo", "--threads", threads]) == 2
    assert "argument --threads: expected a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_end_to_end(spawn):
    process = spawn("demo", env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"})
    _, status, usage = os.wait4(process.pid, 0)  # its output fits into the pipes
    process.returncode = os.waitstatus_to_exitcode(status)
    out, err = process.communicate()
    assert process.returncode == 0
    lines = out.decode().splitlines()
    assert "parity: PASS (limit: twice the error of eager reference, at least 1e-05)" in lines
    assert lines[-1].startswith("done in ")
    assert max(map(len, lines)) <= 80
    origin, why = err.decode().splitlines()
    assert why.startswith("backend 'openvino': ")
    assert "digits" in origin
    # a minute on two cores; not the clock's, which other processes share
    assert usage.ru_utime + usage.ru_stime < 2 * 60
