from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.file import PROOF, packed_text, write
from r2n_kernels.cli import main
from r2n_kernels.cli.describe import proof_text
from r2n_kernels.weights.files import sha256_of

# Describes the file in argv where an import of Triton fails.
BLOCKED = """
import sys
sys.modules["triton"] = None
from r2n_kernels.cli import main
sys.exit(main(["inspect", sys.argv[1]]))
"""


def copied(bundle, path, **changes):
    """The bundle with other words in its manifest."""
    file = open_bundle(bundle).file
    write(path, {**file.manifest, **changes}, {name: file.tensor(name) for name in file.names})
    return str(path)


def test_text(capsys, bundle, tiny):
    assert main(["inspect", bundle]) == 0
    out = capsys.readouterr().out
    head, table, legend = out.split("\n\n")
    lines = {line[:13].strip(): line[14:] for line in head.splitlines()}
    assert lines["network"].startswith(f"local-dir:{tiny}, float16, ")
    assert lines["SHA-256"] == sha256_of(Path(bundle))
    assert "triton 3" in lines["made with"]
    assert lines["has code for"] == "batch 2 of 64x64 on sm_80"
    assert lines["weights"] == "of 14 layers"
    assert lines["labels"] == "5"
    assert lines["proof"].startswith("none: ")
    assert {part.split()[0] for part in lines["parts"].split(", ")} == {
        "weights", "code", "PTX", "plans", "labels",
    }  # fmt: skip
    titles, *rows = table.splitlines()
    assert len(rows) == len(open_bundle(bundle).manifest.codes)
    assert rows[0].split()[:2] == ["prepare", "sm_80"]
    assert rows[-1].split()[-2:] == ["fc", "2"]
    assert len({len(row) for row in (titles, *rows)}) == 1
    assert legend.startswith("shared: bytes per CTA")


def test_json(capsys, bundle, tmp_path):
    assert main(["inspect", bundle, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sha256"] == sha256_of(Path(bundle))
    assert found["shapes"] == [{"target": "sm_80", "batch": 2, "height": 64, "width": 64}]
    assert found["config"]["num_classes"] == 5
    assert (found["weights"], found["labels"], found["proof"]) == (14, 5, None)
    for one in found["code"]:
        assert one["registers"] > 0
        assert one["cubin"] > 1000
        assert one["batches"] == [2]
    assert sum(found["parts"].values()) < found["bytes"]
    assert main(["inspect", bundle, "--json", str(tmp_path / "b.json")]) == 0
    assert json.loads((tmp_path / "b.json").read_text()) == found
    assert "SHA-256" in capsys.readouterr().out


def test_nothing_of_it_needs_triton(bundle):
    command = [sys.executable, "-c", BLOCKED, bundle]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "batch 2 of 64x64 on sm_80" in done.stdout


def test_strangers_words_stay_on_their_line(capsys, bundle, tmp_path):
    path = copied(bundle, tmp_path / "b.r2n", name="\x1b[2Jmine\nnot")
    assert main(["inspect", path]) == 0
    assert "network       \\x1b[2Jmine\\nnot, float16" in capsys.readouterr().out


def test_each_part_is_held_to_its_hash(capsys, bundle, tmp_path):
    """Also a piece of code, which nothing but a launch would read."""
    data = bytearray(Path(bundle).read_bytes())
    cubin = data.index(b"\x7fELF")
    data[cubin + 200] ^= 1
    (tmp_path / "b.r2n").write_bytes(data)
    assert main(["inspect", str(tmp_path / "b.r2n")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "is damaged: the hash of part 'code/" in err


def test_a_proof_of_other_parts_is_refused(capsys, bundle, tmp_path):
    path = copied(bundle, tmp_path / "b.r2n")
    open_bundle(path).file.rewritten({PROOF: packed_text('{"content": "other", "passed": true}')})
    assert main(["inspect", path]) == 2
    assert "its proof is of other contents" in capsys.readouterr().err


def test_its_own_proof_is_shown(capsys, bundle, tmp_path):
    path = copied(bundle, tmp_path / "b.r2n")
    file = open_bundle(path).file
    proof = {"content": file.content(), "passed": True, "codes": {"a": {}, "b": {}}}
    file.rewritten({PROOF: packed_text(json.dumps(proof))})
    assert main(["inspect", path]) == 0
    assert "proof         passed: 2 kernels in the emulator\n" in capsys.readouterr().out


def test_verdicts_of_a_proof():
    assert proof_text(None).startswith("none: ")
    assert proof_text({"passed": False, "codes": {"a": {}}}) == "FAILED: 1 kernel in the emulator"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["gone.r2n"], "gone.r2n: no such file"),
        (["gone.pt2"], "'gone.pt2' is no bundle, model.r2n; a network is named by --model"),
        (["m.r2n", "--target", "sm_80"], "m.r2n is compiled already: only --json goes with"),
        (["m.r2n", "--run"], "m.r2n is compiled already: only --json goes with"),
        (["m.r2n", "--json", "no/b.json"], "--json 'no/b.json': there is no such folder"),
    ],
    ids=str,
)
def test_wrong_usage(capsys, monkeypatch, tmp_path, words, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
