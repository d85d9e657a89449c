from __future__ import annotations

import io
import json
import sys

import pytest
import torch

from r2n_kernels.benchmarks.gpu import peers
from r2n_kernels.benchmarks.peak import Peak
from r2n_kernels.benchmarks.records import read


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(factor): a dry run whose compiler multiplies outputs by it; the files' folder."""

    def make(factor: float, *words: str):
        def compile_(model, **options):
            return lambda x: model(x) * factor

        monkeypatch.setattr(torch, "compile", compile_)
        monkeypatch.setattr(peers, "peak_of", lambda device, dtype: Peak(1e12, 1e10, "a test"))
        files = [str(tmp_path / name) for name in ("records.jsonl", "peer.json")]
        monkeypatch.setattr(sys, "argv", ["peers", "timm-compile", "1", *files, "--dry", *words])
        return peers.main()

    return make


def test_it_is_timed_beside_ours(run, tmp_path, capsys):
    assert run(1.0) == 0
    (record,) = read(tmp_path / "records.jsonl").records
    assert record.subject == "timm torch.compile, channels_last"
    assert (record.model, record.batch, record.backend) == ("tiny", 1, "inductor")
    found = json.loads((tmp_path / "peer.json").read_text())
    assert found["img/s"] == pytest.approx(1 / record.median, rel=1e-3)
    assert found["r2n_kernels over it"] > 0
    assert "ready" not in capsys.readouterr().out


def test_wrong_outputs_have_no_times(run, tmp_path, capsys):
    assert run(1.01) == 1
    assert not (tmp_path / "records.jsonl").exists()
    assert "img/s" not in json.loads((tmp_path / "peer.json").read_text())
    assert "wrong outputs: error 1.0e-02, limit 1.0e-05" in capsys.readouterr().out


def test_it_waits_for_its_turn(run, monkeypatch, capsys):
    class Input(io.StringIO):
        def readline(self):
            said.append(capsys.readouterr().out)
            return "go\n"

    said: list[str] = []
    monkeypatch.setattr(sys, "stdin", Input())
    assert run(1.0, "--wait") == 0
    assert [text.endswith("\nready\n") for text in said] == [True]
    assert "img/s" in capsys.readouterr().out
