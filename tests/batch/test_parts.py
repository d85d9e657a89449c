"""Images are cut into the batches that a bundle has code for, and padded to them."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.batch.parts import device_batch, parts, usual_batch


@pytest.mark.parametrize(
    ("images", "batches", "sizes"),
    [
        (3, (), [(3, 3)]),
        (8, (1, 8), [(8, 8)]),
        (11, (1, 2, 8), [(8, 8), (2, 2), (1, 1)]),
        (3, (2,), [(2, 2), (2, 1)]),
        (3, (4, 8), [(4, 3)]),
        (9, (4, 8), [(8, 8), (4, 1)]),
        (0, (4,), []),
    ],
)
def test_parts(images, batches, sizes):
    x = torch.arange(1.0, images + 1).reshape(images, 1)
    found = list(parts(x, batches))
    assert [(len(part), count) for part, count in found] == sizes
    assert torch.equal(torch.cat([x[:0], *(part[:count] for part, count in found)]), x)
    assert all(not part[count:].any() for part, count in found)


def test_parts_keep_the_dtype():
    ((part, count),) = parts(torch.ones(1, 3, 2, 2, dtype=torch.float16), (4,))
    assert (part.shape, part.dtype, count) == ((4, 3, 2, 2), torch.float16, 1)


@pytest.mark.parametrize(
    ("batches", "usual"), [((), 8), ((1, 4, 32), 4), ((1, 8), 8), ((16, 32), 16)]
)
def test_usual_batch(batches, usual):
    assert usual_batch(batches) == usual


def test_usual_batch_of_a_gpu():
    assert usual_batch((1, 8, 32), 256) == 32


class OnGpu:
    """Stands for a model on a GPU, whose plans hold so many bytes per image."""

    device = torch.device("cuda")

    def plan(self, batch, height, width):
        return type("", (), {"workspace_bytes": batch * height * width})


@pytest.mark.parametrize(("free", "batch"), [(1 << 40, 256), (4 * 100 * 100 * 100, 64), (1, 8)])
def test_a_batch_fits_the_memory_of_a_gpu(monkeypatch, free, batch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    assert device_batch(OnGpu(), 100, 100) == batch


def test_a_cpu_takes_the_usual():
    assert device_batch(type("", (), {"device": torch.device("cpu")}), 224, 224) == 8
