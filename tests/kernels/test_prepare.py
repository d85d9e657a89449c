"""The input as users give it: sliced, permuted, expanded, bytes; with and without normalisation."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.layout import PlanesLayout, pad_image_channels
from r2n_kernels.kernels.prepare import prepare
from r2n_kernels.reference import twins

N, H, W = 2, 5, 11
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# name -> (shape in memory, the [N, C, H, W] view of it)
VIEWS = {
    "contiguous": lambda c: ((N, c, H, W), lambda t: t),
    "channels_last": lambda c: ((N, H, W, c), lambda t: t.permute(0, 3, 1, 2)),
    "channels_of_more": lambda c: ((N, H, W, c + 3), lambda t: t.permute(0, 3, 1, 2)[:, 1:-2]),
    "cropped": lambda c: ((N + 1, c, H + 4, W + 3), lambda t: t[1:, :, 2:-2, 1:-2]),
    "every_other": lambda c: ((2 * N, c, 3 * H, 2 * W), lambda t: t[::2, :, ::3, ::2]),
    "transposed": lambda c: ((W, H, c, N), lambda t: t.permute(3, 2, 1, 0)),
    "expanded_batch": lambda c: ((1, c, H, W), lambda t: t.expand(N, -1, -1, -1)),
    "expanded_channels": lambda c: ((N, 1, H, W), lambda t: t.expand(-1, c, -1, -1)),
    "one_pixel": lambda c: ((N, c, 1, 1), lambda t: t),
    "one_column": lambda c: ((N, c, 9, 1), lambda t: t),
    "wide": lambda c: ((1, c, 2, 300), lambda t: t),
    "tiles_of_lines": lambda c: ((N, c, 19, 40), lambda t: t),
}


def verify(x, scale, shift, dtype, buffers, check, r: int) -> None:
    n, c, h, w = x.shape
    layout = PlanesLayout(n, h, w, pad_image_channels(c), 32, r)
    images = [torch.zeros(1, layout.rows, layout.C, dtype=t) for t in (dtype, dtype, torch.float64)]
    for image in images:
        twins.images_of(image[0], layout).fill_(float("nan"))
    ours, eager, exact = buffers.guarded(images[0]), *images[1:]
    guarded = [None if t is None else buffers.guarded(t) for t in (scale, shift)]
    launch(prepare(x, *guarded, ours, layout=layout))
    buffers.assert_guards()
    source = x.cpu()
    wide = [None if t is None else t.double() for t in (scale, shift)]
    twins.prepare(source, scale, shift, eager, layout=layout)
    twins.prepare(source.double(), *wide, exact, layout=layout)
    check(ours, eager, exact)
    gaps = torch.ones_like(ours, dtype=torch.bool)
    twins.images_of(gaps[0], layout).fill_(False)
    assert (ours[gaps] == 0).all(), "wrote into gaps"


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize(
    ("channels", "normalize"),
    [
        *[pytest.param(c, False, id=f"{c}-plain") for c in (1, 3, 4, 5, 12)],
        pytest.param(3, True, id="3-normalised"),
        *[
            pytest.param(c, True, id=f"{c}-normalised", marks=pytest.mark.slow)
            for c in (1, 4, 5, 12)
        ],
    ],
)
def test_floats_in_any_strides(view, channels, normalize, buffers, check):
    shape, take = view(channels)
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.rand(2, channels, generator=generator) if normalize else (None, None)
    for dtype in DTYPES:
        x = take(buffers.guarded(torch.randn(shape, generator=generator).to(dtype)))
        verify(x, scale, shift, dtype, buffers, check, r=7 if channels == 3 else 3)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_bytes_in_any_strides(view, channels, buffers, check):
    shape, take = view(channels)
    generator = torch.Generator().manual_seed(0)
    mean, std = 0.45, 0.22
    scale = torch.full((channels,), 1 / (255 * std))
    shift = torch.full((channels,), -mean / std)
    data = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    for dtype in DTYPES:
        verify(take(buffers.guarded(data)), scale, shift, dtype, buffers, check, r=7)


def test_float32_input_becomes_half_precision(buffers, check):
    x = buffers.guarded(torch.randn(N, 3, H, W, generator=torch.Generator().manual_seed(0)))
    verify(x, None, None, torch.float16, buffers, check, r=7)
