"""The twins, which judge the kernels, against plain PyTorch on plain NCHW tensors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from r2n_kernels.fold import FoldedConv
from r2n_kernels.fold.triton_layout import pack_conv, pack_gemm
from r2n_kernels.kernels.layout import PlanesLayout, pad_channels, pad_image_channels
from r2n_kernels.reference import twins

DOUBLE = torch.float64
SIZES = [(1, 1, 1), (2, 5, 9), (3, 8, 6), (1, 1, 7), (2, 7, 1)]
sizes = pytest.mark.parametrize(("n", "h", "w"), SIZES)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=DOUBLE)


def folded(co: int, ci: int, r: int = 1, seed: int = 0) -> FoldedConv:
    return FoldedConv("conv", rand(co, ci, r, r, seed=seed), rand(co, seed=seed + 1))


def rows(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N * H * W, C]."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def plane_of(x: torch.Tensor, layout: PlanesLayout) -> torch.Tensor:
    """[N, C, H, W] in one plane, pixel by pixel as the layout says; gaps hold zeros."""
    plane = torch.zeros(layout.rows, layout.C, dtype=x.dtype)
    for n in range(x.shape[0]):
        for h in range(x.shape[2]):
            for w in range(x.shape[3]):
                plane[layout.row(n, h, w), : x.shape[1]] = x[n, :, h, w]
    return plane


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)  # biases are float32


@sizes
def test_images_of_is_a_view_of_the_pixels(n, h, w):
    layout = PlanesLayout(n, h, w, 8, 32)
    x = rand(n, 8, h, w)
    plane = plane_of(x, layout)
    assert torch.equal(twins.images_of(plane, layout), x.permute(0, 2, 3, 1))
    twins.images_of(plane, layout).zero_()
    assert not plane.any()


@sizes
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_prepare(n, h, w, channels):
    layout = PlanesLayout(n, h, w, pad_image_channels(channels), 32, 7)
    x, scale, shift = rand(n, channels, h, w), rand(channels, seed=1), rand(channels, seed=2)
    image = torch.zeros(1, layout.rows, layout.C, dtype=DOUBLE)
    twins.prepare(x, None, None, image, layout=layout)
    assert torch.equal(image[0], plane_of(x, layout))
    twins.prepare(x, scale, shift, image, layout=layout)
    assert_close(image[0], plane_of(x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1), layout))


@sizes
@pytest.mark.parametrize(("ci", "r", "stride"), [(3, 7, 2), (3, 3, 2), (12, 3, 1)])
def test_conv(n, h, w, ci, r, stride):
    layout = PlanesLayout(n, h, w, pad_image_channels(ci), 32, r)
    conv, x = folded(10, ci, r), rand(n, ci, h, w, seed=3)
    packed = pack_conv([conv], layout.C, DOUBLE)
    expected = F.conv2d(x, conv.weight, conv.bias, stride, r // 2).relu()
    out = torch.empty(rows(expected).shape, dtype=DOUBLE)
    given = (plane_of(x, layout)[None], packed.weight, packed.bias)
    twins.conv(*given, out, layout=layout, stride=stride, out_layout=None)
    assert_close(out, rows(expected))
    out_layout = PlanesLayout(*expected[:, 0].shape, 16, 32)
    plane = torch.zeros(1, out_layout.rows, 16, dtype=DOUBLE)
    twins.conv(*given, plane, layout=layout, stride=stride, out_layout=out_layout)
    assert_close(plane[0], plane_of(expected, out_layout))


@sizes
@pytest.mark.parametrize("first", [False, True])
def test_a_block_is_the_hierarchical_chain(n, h, w, first):
    """conv1, the splits and conv3 on padded buffers against Gao et al.'s Figure 2(b)."""
    width, scale, ci, stride = 5, 4, 9, 2 if first else 1
    c, co = pad_channels(width), ci if not first else 12
    layout = PlanesLayout(n, h, w, c, 32)
    x = rand(n, ci, h, w, seed=7)
    one, convs = folded(width * scale, ci, seed=8), [folded(width, width, 3, s) for s in (1, 2, 3)]
    three, shortcut = folded(co, width * scale, seed=9), folded(co, ci, seed=10)

    splits = F.conv2d(x, one.weight, one.bias).relu().chunk(scale, 1)
    outs, previous = [], 0
    for split, conv in zip(splits, convs, strict=False):
        z = split if first else split + previous
        previous = F.conv2d(z, conv.weight, conv.bias, stride, 1).relu()
        outs.append(previous)
    outs.append(F.avg_pool2d(splits[-1], 3, stride, 1) if first else splits[-1])
    residual = F.conv2d(x, shortcut.weight, shortcut.bias, stride) if first else x
    joined = torch.cat(outs, 1)
    expected = (F.conv2d(joined, three.weight, three.bias) + residual).relu()

    planes = torch.zeros(scale if first else scale - 1, layout.rows, c, dtype=DOUBLE)
    m = n * expected.shape[2] * expected.shape[3]
    y = torch.zeros(m, scale * c, dtype=DOUBLE)
    packed = pack_gemm(one, DOUBLE, out_group=width)
    twins.conv1(rows(x), packed.weight, packed.bias, planes, y, layout=layout)
    packed = pack_conv(convs, c, DOUBLE)
    if first:
        twins.first_stage(planes, packed.weight, packed.bias, y, layout=layout, stride=stride)
    else:
        twins.stage(planes, packed.weight, packed.bias, y, layout=layout)
    assert_close(y.unflatten(1, (scale, c))[..., :width].flatten(1), rows(joined))
    out = torch.empty(m, co, dtype=DOUBLE)
    packed = pack_gemm(three, DOUBLE, in_group=width)
    if first:
        second = pack_gemm(shortcut, DOUBLE)
        bias = packed.bias + second.bias
        twins.conv3_project(
            y, packed.weight, bias, rows(x), second.weight, out, H=h, W=w, stride=stride
        )
    else:
        twins.conv3(y, packed.weight, packed.bias, rows(x), out)
    assert_close(out, rows(expected))


@sizes
def test_pools_and_linear(n, h, w):
    x = rand(n, 6, h, w)
    for twin, expected in (
        (twins.maxpool, F.max_pool2d(x, 3, 2, 1)),
        (twins.avgpool, F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)),
    ):
        out = torch.empty(rows(expected).shape, dtype=DOUBLE)
        twin(rows(x), out, H=h, W=w)
        assert_close(out, rows(expected))
    embedding, fc = torch.empty(n, 6, dtype=DOUBLE), folded(7, 6)
    twins.global_pool(rows(x), embedding)
    assert_close(embedding, F.adaptive_avg_pool2d(x, 1).flatten(1))
    packed, logits = pack_gemm(fc, DOUBLE), torch.empty(n, 7, dtype=DOUBLE)
    twins.linear(embedding, packed.weight, packed.bias, logits)
    assert_close(logits, F.linear(embedding, fc.weight[:, :, 0, 0], fc.bias))


def test_half_precision_twins_accumulate_in_float32():
    """In float16 a sum of 4096 ones stops at 2048; the twin's does not."""
    x, conv = torch.ones(1, 4096, dtype=torch.float16), folded(8, 4096)
    packed = pack_gemm(
        FoldedConv("conv", torch.ones_like(conv.weight), torch.zeros(8)), torch.float16
    )
    out = torch.empty(1, 8, dtype=torch.float16)
    twins.linear(x, packed.weight, packed.bias, out)
    assert (out == 4096).all()
