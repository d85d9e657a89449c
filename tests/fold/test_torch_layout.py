from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F

from r2n_kernels.fold import FoldedConv
from r2n_kernels.fold.torch_layout import CHANNELS_LAST, OneDnnConv, PlainConv, onednn_has

CPU = torch.device("cpu")
# Ci, Co, R, stride, groups
GEOMETRIES = [
    (3, 64, 7, 2, 1),
    (26, 26, 3, 1, 1),
    (13, 7, 3, 2, 1),
    (40, 9, 1, 1, 1),
    (16, 16, 3, 1, 8),
]

kinds = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(lambda conv: PlainConv.from_folded(conv, CPU), id="plain"),
        pytest.param(
            OneDnnConv,
            id="onednn",
            marks=pytest.mark.skipif(not onednn_has(torch.float32), reason="torch has no oneDNN"),
        ),
    ],
)


def make(ci: int, co: int, r: int, stride: int, groups: int) -> FoldedConv:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(co, ci // groups, r, r, generator=generator)
    return FoldedConv("conv", weight, torch.randn(co, generator=generator), stride, groups)


@kinds
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 1, 1), (1, 1, 1), (2, 8, 8)], ids=str)
def test_both_calls_equal_eager(kind, geometry, shape, rel_error):
    conv = make(*geometry)
    n, h, w = shape
    x = torch.randn(n, geometry[0], h, w).to(memory_format=CHANNELS_LAST)
    expected = F.conv2d(
        x.double(), conv.weight.double(), conv.bias.double(), conv.stride,
        conv.weight.shape[-1] // 2, groups=conv.groups,
    )  # fmt: skip
    layer, before = kind(conv), x.clone()
    assert rel_error(layer(x, relu=False), expected) < 1e-6
    assert rel_error(layer(x, relu=True), expected.relu()) < 1e-6
    acc = torch.randn(expected.shape).to(memory_format=CHANNELS_LAST)
    wanted = (acc.double() + expected).relu()
    result = layer.add_relu_(x, acc)
    assert rel_error(result, wanted) < 1e-6
    assert result.data_ptr() == acc.data_ptr(), "not in place"
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", [PlainConv, OneDnnConv])
def test_nan_passes_through_relu(kind):
    conv = make(13, 7, 3, 2, 1)
    layer = PlainConv.from_folded(conv, CPU) if kind is PlainConv else OneDnnConv(conv).unfused()
    x = torch.full((1, 13, 4, 4), float("nan")).to(memory_format=CHANNELS_LAST)
    assert layer(x, relu=True).isnan().all()
    assert layer.add_relu_(x, torch.zeros(1, 7, 2, 2)).isnan().all()


def test_unfused_twin_is_equal_bit_for_bit():
    fused = OneDnnConv(make(26, 26, 3, 1, 1))
    twin = fused.unfused()
    x, acc = (torch.randn(2, 26, 9, 7).to(memory_format=CHANNELS_LAST) for _ in range(2))
    assert torch.equal(fused(x, relu=True), twin(x, relu=True))
    assert torch.equal(fused.add_relu_(x, acc.clone()), twin.add_relu_(x, acc.clone()))
    assert twin.weight is fused.weight


def test_onednn_is_refused_where_it_is_switched_off_or_an_op_is_missing(monkeypatch):
    with torch.backends.mkldnn.flags(enabled=False):
        assert not onednn_has(torch.float32)
    monkeypatch.setattr("r2n_kernels.fold.torch_layout.NEEDED_OPS", ("no_such_op",))
    assert not onednn_has(torch.float32)


@pytest.mark.skipif(not onednn_has(torch.float32), reason="torch has no oneDNN")
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_layout_is_the_same_from_any_weight_and_on_any_thread(geometry):
    """oneDNN's description of it has gaps, which hold what was in a thread's memory before."""
    conv, shape = OneDnnConv(make(*geometry)), (2, geometry[0], 9, 7)
    packed = conv.packed_for(shape, (), {})
    assert packed.layout
    assert conv.layout == packed.unpacked().layout == ()
    assert torch.equal(packed.unpacked().weight, conv.weight)
    with ThreadPoolExecutor(1) as pool:
        for source in (conv, packed, packed.unpacked()):
            known = {}
            other = pool.submit(source.packed_for, shape, (), known).result()
            assert [other.layout] == [packed.layout] == [*known.values()]
            assert torch.equal(other.unpacked().weight, conv.weight)
            assert source.packed_for(shape, (packed,), known) is packed
