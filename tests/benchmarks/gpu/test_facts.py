from __future__ import annotations

import errno
import json

from r2n_kernels.benchmarks.gpu import facts as facts_module
from r2n_kernels.benchmarks.gpu.facts import Facts


def test_each_is_kept_at_once(tmp_path, capsys):
    facts = Facts(tmp_path / "a.json")
    facts.keep("x", 1)
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    facts.keep("y", [1.5, None])
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1, "y": [1.5, None]}
    assert capsys.readouterr().out == "x: 1\ny: [1.5, None]\n"


def test_a_full_disk_is_told_once(tmp_path, capsys, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(facts_module, "replace_text", full)
    facts = Facts(tmp_path / "a.json")
    facts.keep("x", 1)
    facts.keep("y", 2)
    assert capsys.readouterr().out == "x: 1\ncannot write a.json: No space left on device\ny: 2\n"
    assert facts.found == {"x": 1, "y": 2}
