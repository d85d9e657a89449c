from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from r2n_kernels import reference
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.errors import WeightsError
from r2n_kernels.fold import FoldedConv, fold
from r2n_kernels.fold.triton_layout import pack_conv, pack_gemm, pack_network
from r2n_kernels.kernels.layout import pad_channels
from r2n_kernels.kernels.tiles import LONGEST, weight_columns


def make(co: int, ci: int, r: int, groups: int = 1, seed: int = 0) -> FoldedConv:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(co, ci // groups, r, r, generator=generator)
    return FoldedConv("conv", weight, torch.randn(co, generator=generator), groups=groups)


def grouped(x: torch.Tensor, group: int) -> torch.Tensor:
    """[M, G * group] -> [M, G * padded], what lies between groups poisoned but for a real value."""
    split = x.unflatten(1, (-1, group))
    return F.pad(split, (0, pad_channels(group) - group), value=7.0).flatten(1)


@pytest.mark.parametrize(("co", "ci"), [(5, 3), (16, 64), (300, 70), (257, 65), (1, 1)])
def test_a_packed_gemm_is_the_convolution_with_zeros_around(co, ci):
    conv = make(co, ci, 1)
    packed = pack_gemm(conv, torch.float32)
    k, n = packed.weight.shape
    assert (k % LONGEST, n) == (0, weight_columns(co))
    assert packed.bias.shape == (n,)
    assert packed.shortcut is None
    assert torch.equal(packed.weight[:ci, :co], conv.weight[:, :, 0, 0].t())
    assert torch.equal(packed.bias[:co], conv.bias)
    assert not packed.weight[ci:].any()
    assert not packed.weight[:, co:].any()
    assert not packed.bias[co:].any()


@pytest.mark.parametrize("group", [3, 8, 13, 26])
@pytest.mark.parametrize("splits", [1, 4])
def test_groups_are_padded_on_either_side(group, splits, rel_error):
    c, width = pad_channels(group), group * splits
    x = torch.randn(6, width, generator=torch.Generator().manual_seed(1))

    out = make(width, 9, 1)
    packed = pack_gemm(out, torch.float32, out_group=group)
    y = torch.randn(6, 9, generator=torch.Generator().manual_seed(2))
    result = (y @ packed.weight[:9] + packed.bias)[:, : splits * c].unflatten(1, (splits, c))
    expected = F.linear(y, out.weight[:, :, 0, 0], out.bias).unflatten(1, (splits, group))
    assert rel_error(result[..., :group], expected) < 1e-6
    assert not result[..., group:].any(), "pad channels must come out as zero"

    into = make(11, width, 1)
    packed = pack_gemm(into, torch.float32, in_group=group)
    result = grouped(x, group) @ packed.weight[: splits * c] + packed.bias
    expected = F.linear(x, into.weight[:, :, 0, 0], into.bias)
    assert rel_error(result[:, :11], expected) < 1e-6


@pytest.mark.parametrize(
    ("co", "ci", "r", "groups", "stored"),
    [
        (26, 26, 3, 1, 32),
        (64, 3, 7, 1, 4),
        (5, 1, 3, 1, 4),
        (8, 5, 3, 1, 8),
        (32, 32, 3, 8, 32),
        (24, 12, 3, 4, 16),
        (208, 208, 3, 1, 208),
    ],
)
def test_a_packed_convolution_is_an_unfolded_gemm(co, ci, r, groups, stored, rel_error):
    """Lines of r taps x stored channels; with 4 channels a tap of weight zero comes first."""
    convs = [make(co, ci, r, groups, seed) for seed in (0, 1)]
    packed = pack_conv(convs, stored, torch.float32)
    lead = 1 if stored == 4 and (r // 2) % 2 else 0
    x = torch.randn(2, ci, 5, 6, generator=torch.Generator().manual_seed(3))
    padded = F.pad(x, (r // 2,) * 4)
    for i, conv in enumerate(convs):
        lines = packed.weight[i]
        assert (lines.shape[1] % LONGEST, lines.shape[0]) == (0, r)
        taps = lines[:, lead * stored : (lead + r) * stored].unflatten(1, (r, stored))
        assert not lines[:, : lead * stored].any()
        assert not lines[:, (lead + r) * stored :].any()
        assert not taps[:, :, ci:].any()
        assert not lines[..., co:].any()
        windows = padded.unfold(2, r, 1).unfold(3, r, 1)  # [N, Ci, H, W, R, R]
        result = torch.einsum("nchwrs,rsco->nohw", windows, taps[:, :, :ci, :co])
        expected = F.conv2d(x, conv.weight, conv.bias, padding=r // 2, groups=groups)
        bias = packed.bias[i, :co, None, None]
        assert rel_error(result + bias, expected) < 1e-5
        assert not packed.bias[i, co:].any()


def test_a_network_is_packed_under_the_names_of_its_steps():
    from r2n_kernels.plan import build_plan

    config = Res2NetConfig(layers=(2, 1), planes=(9, 14), deep_stem=True, avg_down=True)
    state = reference.randomize(reference.Res2Net(config)).state_dict()
    folded = fold(config, state, torch.float32)
    packed = pack_network(config, folded, state, torch.bfloat16)
    plan = build_plan(config, 1, 32, 32, torch.bfloat16, "triton")
    assert set(packed) == {step.name for step in plan.steps if step.convs}
    for conv in packed.values():
        assert conv.weight.dtype == torch.bfloat16
        assert conv.bias.dtype == torch.float32
    block = folded.blocks["layer2.0"]
    first, plain = packed["layer2.0.conv3"], packed["layer1.1.conv3"]
    assert torch.equal(first.bias[:56], block.conv3.bias + block.shortcut.bias)
    assert torch.equal(first.shortcut[:36, :56], block.shortcut.weight[:, :, 0, 0].t().bfloat16())
    assert plain.shortcut is None
    assert torch.equal(packed["fc"].weight[:56, :1000], state["fc.weight"].t().bfloat16())
    assert torch.equal(packed["fc"].bias[:1000], state["fc.bias"])
    without = pack_network(config.replace(num_classes=0), folded, state, torch.float16)
    assert set(packed) - set(without) == {"fc"}


@pytest.mark.parametrize("pack", [pack_gemm, lambda conv, dtype: pack_conv([conv], 8, dtype)])
def test_weights_that_half_precision_cannot_hold_are_refused(pack):
    conv = make(4, 8, 1)
    conv.weight[1, 2] = 1e5
    conv.weight[3, 0] = -1e5
    with pytest.raises(WeightsError, match="conv: 2 values of the folded weight are not finite in"):
        pack(conv, torch.float16)
    assert pack(conv, torch.bfloat16).weight.isfinite().all()
