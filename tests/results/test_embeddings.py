from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors import safe_open

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import EmbeddingWriter, embeddings


def read(path):
    """paths, status, errors (None where ok), embeddings."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            errors = [str(error) or None for error in file["error"]]
            return file["paths"].tolist(), file["status"].tolist(), errors, file["embeddings"]
    with safe_open(path, "np") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
        values = file.get_tensor("embeddings")
    return metadata["paths"], metadata["status"], metadata["error"], values


@pytest.fixture(params=["out.npz", "out.safetensors"])
def target(request, tmp_path):
    return tmp_path / request.param


def test_rows(target):
    with EmbeddingWriter(target) as writer:
        writer.write("first.png", error="no such file")
        writer.write("a.png", torch.tensor([1.5, -2.0, 3.0]))
        writer.write("b.png", error="the file is empty")
        writer.write("c.png", torch.tensor([0.5, 0.25, 1.0], dtype=torch.bfloat16))
        writer.write("d.png", np.array([1, 2, 3], dtype=np.float64))
    paths, status, errors, values = read(target)
    assert paths == ["first.png", "a.png", "b.png", "c.png", "d.png"]
    assert status == ["error", "ok", "error", "ok", "ok"]
    assert errors == ["no such file", None, "the file is empty", None, None]
    assert values.dtype == np.float32
    nan = [np.nan] * 3
    expected = [nan, [1.5, -2, 3], nan, [0.5, 0.25, 1], [1, 2, 3]]
    np.testing.assert_array_equal(values, np.array(expected, np.float32))


def test_bits_survive(target):
    rows = torch.randn(2500, 7, generator=torch.Generator().manual_seed(0))
    with EmbeddingWriter(target) as writer:
        for index, row in enumerate(rows):
            writer.write(f"{index}.png", row)
    paths, _, _, values = read(target)
    assert paths[-1] == "2499.png"
    assert torch.equal(torch.from_numpy(values), rows)


def test_names_survive(target, hard_names):
    with EmbeddingWriter(target) as writer:
        for index, name in enumerate(hard_names):
            if index % 2:
                writer.write(name, error=f"cannot read {name}")
            else:
                writer.write(name, [1.0])
    paths, _, errors, _ = read(target)
    assert paths == hard_names
    assert errors[1::2] == [f"cannot read {name}" for name in hard_names[1::2]]


def test_no_rows_and_no_good_rows(target):
    with EmbeddingWriter(target):
        pass
    paths, status, errors, values = read(target)
    assert (paths, status, errors, values.shape) == ([], [], [], (0, 0))
    with EmbeddingWriter(target) as writer:
        writer.write("a.png", error="no such file")
    paths, status, errors, values = read(target)
    assert (paths, status, values.shape) == (["a.png"], ["error"], (1, 0))


def test_embeddings_wait_on_disk(target):
    row = np.zeros(4096, np.float32)
    tracemalloc.start()
    with EmbeddingWriter(target) as writer:
        for index in range(4000):  # 62.5 MiB
            writer.write(f"{index}.png", row)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2**20
    assert read(target)[3].shape == (4000, 4096)


def test_safetensors_header_has_a_limit(tmp_path, monkeypatch):
    """A file with a longer header could be written but not read; the rows so far are kept."""
    limit = 20_000
    monkeypatch.setattr(embeddings, "SAFETENSORS_HEADER_LIMIT", limit)
    target = tmp_path / "out.safetensors"
    writer = EmbeddingWriter(target)

    def write_endlessly():
        with writer:
            while True:
                writer.write('a"\udcff\n.png', [1.0])

    with pytest.raises(ConfigError, match=r"holds \d+ rows .* write \.npz instead"):
        write_endlessly()
    paths, *_ = read(writer.partial)
    assert len(paths) == writer.rows > 100
    header = int.from_bytes(writer.partial.read_bytes()[:8], "little")
    assert limit / 2 < header <= limit


def test_misuse(target):
    with EmbeddingWriter(target) as writer:
        with pytest.raises(ValueError, match="either an embedding or an error"):
            writer.write("a.png")
        with pytest.raises(ValueError, match="either an embedding or an error"):
            writer.write("a.png", [1.0], error="no such file")
        with pytest.raises(ValueError, match=r"embedding of shape \(1, 2\), expected \(2,\)"):
            writer.write("a.png", [[1.0, 2.0]])
        writer.write("a.png", [1.0, 2.0])
        with pytest.raises(ValueError, match=r"embedding of shape \(3,\), expected \(2,\)"):
            writer.write("b.png", [1.0, 2.0, 3.0])
    assert read(target)[0] == ["a.png"]
