"""The same job on a Ray cluster has the same output."""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path

import numpy as np
import pytest

from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS

IMAGES = sorted(map(str, (DIGITS / "images").glob("*.png")))[:11]


def words(command: str, output: Path, *more: str) -> list[str]:
    fixed = ["--model", "digits", "--batch-size", "2", "--workers", "1", "--output", str(output)]
    return [command, *IMAGES, "no.png", *fixed, *more]


def assert_same(a: Path, b: Path) -> None:
    if a.suffix == ".npz":
        with np.load(a) as one, np.load(b) as other:
            assert one.files == other.files
            assert all(one[name].tobytes() == other[name].tobytes() for name in one.files)
    else:
        assert a.read_bytes() == b.read_bytes()


@pytest.fixture
def in_process(monkeypatch):
    """Blocks are made here, pickled function and all, as an actor would make them."""
    import pickle

    def rows(samples, function, *, address, block):
        assert address == "somewhere"
        actor = pickle.loads(pickle.dumps(function))
        every = iter(samples)
        while some := list(itertools.islice(every, block)):
            names, sources = zip(*((s.name, s.source) for s in some), strict=True)
            yield actor({"path": list(names), "source": list(sources)})

    monkeypatch.setattr("r2n_kernels.cli.batches.ray_rows", rows)


@pytest.mark.parametrize(
    ("command", "suffix", "more"),
    [("classify", "csv", ()), ("classify", "npz", ("--probabilities",)),
     ("embed", "npz", ("--vectors", "float16"))],
)  # fmt: skip
def test_rows_are_those_of_this_machine(in_process, tmp_path, command, suffix, more):
    here, there = tmp_path / f"here.{suffix}", tmp_path / f"there.{suffix}"
    assert main(words(command, here, *more)) == 0
    assert main(words(command, there, *more, "--ray", "somewhere")) == 0
    assert_same(here, there)


def test_an_actor_takes_the_batches_that_were_announced(in_process, tmp_path, monkeypatch):
    """Its device would take others; the journal counts in these."""
    sizes = iter([2, 256])
    monkeypatch.setattr("r2n_kernels.batch.run.device_batch", lambda *_: next(sizes, 256))
    output = tmp_path / "out.csv"
    arguments = words("classify", output, "--ray", "somewhere")
    at = arguments.index("--batch-size")
    assert main(arguments[:at] + arguments[at + 2 :]) == 0
    assert len(output.read_text().splitlines()) == 13


@pytest.mark.slow
def test_a_cluster(spawn, tmp_path):
    """In a process of its own, because Ray keeps a token for the life of one."""
    token = tmp_path / "token"  # without it one is left in the home
    token.write_text(secrets.token_hex(32))
    private = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN_PATH": str(token)}
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    for output, more in ((here, ()), (there, ("--ray", "local"))):
        process = spawn(*words("classify", output, *more), env=private)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert_same(here, there)
