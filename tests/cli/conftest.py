"""A tiny model in timm's folder format, images good and bad, and `r2n` in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.compiled import pool
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.reference import Res2Net

CLASSES = 5
TINY = Res2NetConfig((1, 1, 1, 1), planes=(8, 16, 24, 32), base_width=32, num_classes=CLASSES)
NAMES = ["ant", "bee", "cat", "dog", "eel"]


def in_class_folders(root: Path) -> Path:
    """Copy the bundled digits into folders of their classes."""
    for path in sorted((DIGITS / "images").glob("digit_*.png")):
        folder = root / path.stem.split("_")[1]
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder)
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, randomize) -> Path:
    """A folder with config.json and weights: 5 classes, 64x64 px, embeddings of 128."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny")
    model = randomize(Res2Net(TINY).eval(), 0)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "res2net50_26w_4s",
        "num_classes": CLASSES,
        "model_args": {
            "layers": TINY.layers,
            "channels": TINY.planes,
            "base_width": TINY.base_width,
            "num_classes": CLASSES,
        },
        "pretrained_cfg": {
            "tag": "tiny",
            "num_classes": CLASSES,
            "input_size": [3, 64, 64],
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "label_names": NAMES,
            "license": "mit",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def model(tiny) -> list[str]:
    """The arguments that choose the tiny model."""
    return ["--model", f"local-dir:{tiny}"]


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    datasets = pytest.importorskip("sklearn.datasets")
    return Image.fromarray(datasets.load_sample_image("china.jpg"))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _bomb() -> bytes:
    """A PNG that claims 144 million pixels."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + data + _chunk(b"IEND", b"")


GOOD = [b'a"quote,comma.png', b"b\nnewline.jpg", b"caf\xe9.png", "漢字 ü.png".encode()]


@pytest.fixture
def hostile(tmp_path, photo) -> dict[str, str | None]:
    """Paths, sorted as a folder search sorts them -> a part of the error, None where all is well.

    In the folder `tmp_path / "in"`; a folder named like an image is in it too.
    """
    folder = tmp_path / "in"
    (folder / "d.jpg").mkdir(parents=True)
    small = photo.resize((96, 64))
    small.save(folder / "good.jpg")
    jpeg = (folder / "good.jpg").read_bytes()
    bad = {
        "bomb.png": (_bomb(), "too large: 12000x12000 pixels"),
        "text.png": (b"text\n" * 99, "not an image in a known format"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "zero.png": (b"", "the file is empty"),
    }
    expected: dict[str, str | None] = {str(folder / "good.jpg"): None}
    for name, (content, reason) in bad.items():
        (folder / name).write_bytes(content)
        expected[str(folder / name)] = reason
    for name in GOOD:
        path = os.fsdecode(os.path.join(os.fsencode(folder), name))
        small.save(path)
        expected[path] = None
    # Pillow warns of a palette with transparency
    small.quantize(16).save(folder / "palette.png", transparency=b"\0\1\2")
    expected[str(folder / "palette.png")] = None
    return dict(sorted(expected.items()))


@pytest.fixture
def links(tmp_path, photo) -> Callable[[int], Path]:
    """`links(n)`: a folder of n links to one small image."""

    def make(count: int, size: tuple[int, int] = (48, 32)) -> Path:
        photo.resize(size).save(tmp_path / "linked.jpg")
        folder = tmp_path / f"links{count}"
        folder.mkdir()
        for index in range(count):
            (folder / f"{index:06}.jpg").symlink_to(tmp_path / "linked.jpg")
        return folder

    return make


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen]:
    """`spawn(arguments, **options)`: r2n as a process, its output in pipes unless told."""
    processes = []

    def start(*arguments: str, **options) -> subprocess.Popen:
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
        process = subprocess.Popen(
            [sys.executable, "-m", "r2n_kernels.cli", *arguments],
            env=environment,
            # a job in the background ignores SIGINT, and its children with it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def workers():
    with pool.Pool(1) as workers:
        yield workers


@pytest.fixture
def one_pool(workers, monkeypatch):
    """Starting a worker takes seconds, so that all commands share one."""
    monkeypatch.setattr(pool, "Pool", lambda jobs, *, keep=False: contextlib.nullcontext(workers))


class Built(NamedTuple):
    """A bundle, and what `r2n build` said on standard output."""

    path: str
    said: str


@pytest.fixture(scope="session")
def built(tiny, tmp_path_factory) -> Built:
    """The tiny model compiled for sm_80, for two images at once."""
    path = str(tmp_path_factory.mktemp("bundle") / "tiny.r2n")
    words = ["build", f"local-dir:{tiny}", "--target", "sm_80", "--batch", "2", "--jobs", "1"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([*words, "--no-proof", "--no-cache", "-o", path]) == 0
    return Built(path, said.getvalue())


@pytest.fixture(scope="session")
def bundle(built) -> str:
    return built.path
