"""Runs that are killed at any moment go on where they were: the rows are those of one whole run."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from r2n_kernels.cli import main

IMAGES = 240
FORMATS = ["classify.csv", "classify.jsonl", "classify.parquet", "embed.npz", "embed.parquet"]


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder of small grey images, one in 17 of them damaged."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("many")
    noise = np.random.default_rng(0).integers(0, 256, (IMAGES, 40, 36), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        path = folder / f"{index // 50}" / f"{index:05}.png"
        path.parent.mkdir(exist_ok=True)
        if index % 17 == 3:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(pixels).save(path)
    return folder


def words(command: str, folder: Path, output: Path, *more: str) -> list[str]:
    model = ["--model", "digits", "--workers", "1", "--batch-size", "4"]
    return [command, str(folder), *model, "--output", str(output), *more]


def rows_of(output: Path) -> int:
    """How many rows a reader finds of a run under way, or ended early."""
    rows = output.with_name(f"{output.name}.partial") / "rows.jsonl"
    return rows.read_bytes().count(b"\n") if rows.exists() else 0


def assert_same(a: Path, b: Path) -> None:
    if a.suffix == ".npz":
        with np.load(a) as one, np.load(b) as other:
            assert one.files == other.files
            assert all(one[name].tobytes() == other[name].tobytes() for name in one.files)
    elif a.suffix == ".parquet":
        import pyarrow.parquet as pq

        assert pq.read_table(a).equals(pq.read_table(b))
    else:
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    "output",
    [
        FORMATS[0],
        *(pytest.param(f, marks=pytest.mark.slow) for f in FORMATS if f.startswith("embed")),
        *(pytest.param(f, marks=pytest.mark.weekly) for f in FORMATS[1:3]),
    ],
)
def test_killed_and_resumed(spawn, many, tmp_path, output):
    command, _, suffix = output.partition(".")
    whole, killed = tmp_path / f"whole.{suffix}", tmp_path / f"killed.{suffix}"
    assert main(words(command, many, whole)) == 0
    chance = random.Random(suffix)
    for share in (0.2, 0.6):
        process = spawn(*words(command, many, killed, *(["--resume"] if share > 0.2 else [])))
        enough = int(IMAGES * (share + chance.uniform(0, 0.2)))
        while process.poll() is None and rows_of(killed) < enough:
            time.sleep(0.001)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not killed.exists()
        assert enough <= rows_of(killed) < IMAGES
    assert main(words(command, many, killed, "--resume")) == 0
    assert_same(whole, killed)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


@pytest.fixture
def begun(spawn, many, tmp_path) -> Path:
    """An output whose run was killed after some rows."""
    output = tmp_path / "out.csv"
    process = spawn(*words("classify", many, output))
    while process.poll() is None and rows_of(output) < 20:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return output


def test_another_run_is_refused_by_name(capsys, begun, many, tmp_path):
    others = [
        (["--max-pixels", "10"], "limit of pixels"), (["--isolate"], "isolate"),
        (["--decode", "turbo"], "decode"), (["--topk", "2"], "topk"),
        (["--shard", "0/2"], "--shard"), (["--dtype", "bfloat16"], "dtype"),
        (["--mean", "0.4"], "preprocessing"),
    ]  # fmt: skip
    kept = rows_of(begun)
    for more, key in others:
        assert main(words("classify", many, begun, "--resume", *more)) == 2
        assert f"was begun with {key} " in capsys.readouterr().err
    (many / "0" / "zzz.png").write_bytes(b"")
    try:
        assert main(words("classify", many, begun, "--resume")) == 2
        assert "was begun with inputs " in capsys.readouterr().err
    finally:
        (many / "0" / "zzz.png").unlink()
    assert main(words("classify", many, begun)) == 2
    assert "go on with --resume, or delete it" in capsys.readouterr().err
    assert rows_of(begun) == kept


def test_failures_of_an_earlier_run_count(capsys, monkeypatch, tmp_path):
    """Two damaged images are read, then the run is stopped; the others are good, or not."""
    from r2n_kernels.results.journal import Journal

    folder, output = tmp_path / "some", tmp_path / "out.csv"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(b"no image")
    arguments = words("classify", folder, output, "--resume", "--strict")
    arguments[arguments.index("4")] = "2"  # images at once
    write = Journal.write

    def once(self, *block):
        if self.rows:
            raise KeyboardInterrupt
        write(self, *block)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", once)
        assert main(arguments) == 130
    assert rows_of(output) == 2
    assert main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"4 images: none could be read, in {output}"
    )


def test_a_whole_file_is_not_taken_for_this_run_s(capsys, many, tmp_path):
    output = tmp_path / "out.csv"
    output.write_text("of yesterday")
    assert main(words("classify", many, output, "--resume")) == 2
    assert "what made it is not known" in capsys.readouterr().err
    assert output.read_text() == "of yesterday"
