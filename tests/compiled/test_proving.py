"""A bundle's proof finds what is right and what was made wrong, in exactly these bytes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.file import PROOF, packed_text, write
from r2n_kernels.cli import main
from r2n_kernels.compiled import proving
from r2n_kernels.compiled.build import Cache, default_folder
from r2n_kernels.compiled.bundling import SETTINGS, Contents, build, requests_for
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.kernel_backend import pack
from r2n_kernels.errors import BundleError
from r2n_kernels.reference import Res2Net, randomize
from r2n_kernels.weights.files import sha256_of

CONFIG = Res2NetConfig(layers=(2,), planes=(14,), num_classes=7)
SIZE = (33, 40)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return randomize(Res2Net(CONFIG).eval()).state_dict()


@pytest.fixture(scope="module")
def built(tmp_path_factory, state) -> Path:
    """A bundle for one image and for 64, of which the proof runs two."""
    path = tmp_path_factory.mktemp("bundle") / "small.r2n"
    config, packed = pack(CONFIG, state, torch.float16)
    requests = requests_for(config, torch.float16, ["sm_80"], [1, 64], [SIZE])
    with Pool(1, SETTINGS) as pool:
        cache = Cache(default_folder(), SETTINGS)
        build(path, Contents("small", {}, None, packed), requests, pool, cache)
    return path


@pytest.fixture
def copied(built, tmp_path) -> Path:
    path = tmp_path / "copy.r2n"
    path.write_bytes(built.read_bytes())
    return path


@pytest.fixture(scope="module")
def pool():
    with Pool(1) as pool:
        yield pool


def changed_code(path: Path, kernel: str, change) -> set[str]:
    """Change the PTX of every code of a kernel, all hashes made right; the codes' keys."""
    bundle = open_bundle(path)
    file, keys = bundle.file, set()
    parts = {name: file.tensor(name).clone() for name in file.names}
    for code in bundle.manifest.codes.values():
        if code.entry == kernel:
            text = file.text(code.ptx)
            assert change(text) != text
            parts[code.ptx] = packed_text(change(text))
            keys.add(code.key)
    write(path, file.manifest, parts)
    return keys


def test_all_code_of_a_bundle_is_right(copied, pool, state, capsys):
    bundle = open_bundle(copied)
    assert bundle.proof() is None
    proof = proving.prove(copied, pool, state)
    assert proof.faults == ()
    assert sorted(proof.kernels) == sorted(bundle.manifest.codes)
    assert {one.task.shape.batch for one in proof.proven} == {1, 64}
    assert [network.against for network in proof.networks] == ["reference"]
    assert [v.name for v in proof.networks[0].verdicts][-2:] == ["embedding", "logits"]
    proving.write(copied, proof)
    kept = open_bundle(copied).proof()
    assert kept == json.loads(json.dumps(proof.encode()))
    assert kept["passed"]
    assert open_bundle(copied).file.content() == bundle.file.content()


def test_wrong_numbers_are_found(copied, pool):
    keys = changed_code(copied, "maxpool_kernel", lambda ptx: ptx.replace("max.", "min."))
    proof = proving.prove(copied, pool)
    wrong = [one for one in proof.proven if one.faults]
    assert {key for one in wrong for key in one.task.codes} == keys
    assert "wrong: error" in wrong[0].faults[0]
    (network,) = proof.networks
    assert network.against == "twins"
    assert {"feature 1", "logits"} <= {v.name for v in network.verdicts if not v.passed}
    assert not proof.encode()["passed"]


def test_a_missing_barrier_is_found(copied, pool):
    keys = changed_code(copied, "conv3_kernel", lambda ptx: ptx.replace("bar.sync", "// bar.sync"))
    proof = proving.prove(copied, pool)
    wrong = {key for one in proof.proven if one.faults for key in one.task.codes}
    assert wrong == keys
    assert any("race" in fault for fault in proof.faults)


def test_code_that_cannot_run_is_a_fault(copied, pool):
    changed_code(copied, "maxpool_kernel", lambda ptx: ptx.replace("max.", "vmax9."))
    proof = proving.prove(copied, pool)
    assert any("vmax9" in fault for one in proof.proven for fault in one.faults)
    assert "vmax9" in proof.networks[0].faults[0]


def test_a_proof_of_other_contents_is_refused(copied, pool):
    proof = packed_text(json.dumps({"content": "0" * 64, "passed": True}))
    file = open_bundle(copied).file
    file.rewritten({PROOF: proof})
    with pytest.raises(BundleError, match="its proof is of other contents; `r2n prove` renews it"):
        open_bundle(copied).proof()


def test_a_proof_must_run_what_is_launched(copied, pool):
    file = open_bundle(copied).file
    parts = {name: file.tensor(name).clone() for name in file.names}
    of_one, of_many = (f"proof/sm_80 b{batch} 33x40" for batch in (1, 64))
    data = json.loads(file.text(of_many))
    parts[of_one] = packed_text(json.dumps({**data, **json.loads(file.text(of_one)),
                                            "launches": data["launches"]}))  # fmt: skip
    write(copied, file.manifest, parts)
    with pytest.raises(BundleError, match="would prove sm_80 b1 33x40 runs other code than it"):
        proving.prove(copied, pool)


def test_a_bundle_that_was_replaced_meanwhile(built, copied, pool):
    proof = proving.Proof("0" * 64, (), ())
    with pytest.raises(BundleError, match="was replaced while it was proven"):
        proving.write(copied, proof)
    (task, *_) = proving.tasks(open_bundle(copied))
    with pytest.raises(BundleError, match="was replaced while it was proven"):
        proving.run_task(dataclasses.replace(task, content="0" * 64))


def test_the_command_tells_and_writes(copied, tmp_path, capsys):
    changed_code(copied, "maxpool_kernel", lambda ptx: ptx.replace("max.", "min."))
    files = [str(tmp_path / name) for name in ("proof.json", "proof.xml")]
    code = main(["prove", str(copied), "--jobs", "1", "--json", files[0], "--junit", files[1]])
    assert code == 1
    told = capsys.readouterr()
    assert f"SHA-256 {sha256_of(copied)}" in told.out
    assert "WRONG  sm_80 b1 33x40 maxpool: wrong: error" in told.out
    assert "WRONG  sm_80 network: logits: error" in told.out
    assert "faults (" in told.err
    assert json.loads(Path(files[0]).read_text()) == open_bundle(copied).proof()
    assert "failures=" in Path(files[1]).read_text()


@pytest.mark.slow
def test_without_triton(copied):
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "from r2n_kernels.cli import main\n"
        f"sys.exit(main(['prove', {str(copied)!r}, '--jobs', '1']))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "proven" in done.stderr
    assert open_bundle(copied).proof()["passed"]
