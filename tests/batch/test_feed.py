"""Batches reach a model whole, in order, and as few as are asked for."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.batch import Clock, Run, embeddings, forward_batches
from r2n_kernels.data import Batch, Item, read_image


class Double:
    """Stands for a model on the CPU."""

    device, dtype = torch.device("cpu"), torch.float32


def batch(start, images):
    return Batch(start, images, [Item(start, "x", None)])


def test_every_batch_has_its_rows_and_one_without_images_none():
    given = [batch(0, torch.ones(2, 3)), batch(2, None), batch(3, 3 * torch.ones(1, 3))]
    clock = Clock()
    found = list(forward_batches(Double(), given, lambda x: x * 2, clock=clock))
    assert [part for part, _ in found] == given
    assert [rows if rows is None else rows.tolist() for _, rows in found] == [
        [[2.0] * 3] * 2, None, [[6.0] * 3],
    ]  # fmt: skip
    assert clock.images > 0
    assert clock.model > 0


def test_a_cpu_waits_for_no_second_batch():
    taken = []
    given = (taken.append(i) or batch(i, torch.ones(1, 1)) for i in range(3))
    rows = forward_batches(Double(), given, lambda x: x)
    next(rows)
    assert taken == [0]


def test_rows_are_float32_of_the_cuts_and_bytes_stay_bytes():
    seen = []
    model = Double()
    model.dtype = torch.bfloat16

    def apply(x):
        seen.append((x.dtype, len(x)))
        return x.to(torch.bfloat16).flatten(1)

    given = [batch(0, torch.ones(3, 2)), batch(3, torch.ones(3, 2, dtype=torch.uint8))]
    found = [rows for _, rows in forward_batches(model, given, apply, (2,))]
    assert seen == [(torch.bfloat16, 2)] * 2 + [(torch.uint8, 2)] * 2
    assert [(rows.dtype, rows.shape) for rows in found] == [(torch.float32, (3, 2))] * 2


def test_an_error_of_the_model_is_raised():
    def broken(x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(forward_batches(Double(), [batch(0, torch.ones(1, 1))], broken))


def test_bytes_normalised_by_the_model_are_its_floats(digits, photos):
    """What a GPU is fed means what a CPU is fed."""
    model = create_model(digits, pretrained=True)
    transform = Run(model, embeddings(model)).transform
    image = read_image(photos[0], transform.mode)
    pixels = torch.from_numpy(transform.pixels(image))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (32, 32, 1))
    torch.testing.assert_close(model(pixels[None]), model(transform(image)[None]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_has_the_rows_of_a_cpu_whatever_failed(digits, mixed):
    found = {}
    for device in ("cpu", "cuda"):
        model = create_model(digits, pretrained=True, device=device)
        run = Run(model, embeddings(model), batch_size=4)
        found[device] = [(part.start, rows) for part, rows in run.batches(mixed * 5)]
    for (start, expected), (place, rows) in zip(*found.values(), strict=True):
        assert (start, rows.device.type, rows.dtype) == (place, "cpu", torch.float32)
        torch.testing.assert_close(rows, expected, rtol=1e-2, atol=1e-2)
