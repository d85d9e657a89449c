from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels.cli.bundled import expand
from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.engine import overflow
from r2n_kernels.engine.overflow import Growth, Line, Watch, growths, largest
from r2n_kernels.fold import fold
from r2n_kernels.fold.torch_layout import CHANNELS_LAST, onednn_has
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 2, 1), planes=(9, 14, 33), num_classes=7)
needs_onednn = pytest.mark.skipif(not onednn_has(torch.float32), reason="torch has no oneDNN")


def scaled(network: nn.Module, factor: float) -> nn.Module:
    """Finite weights of which eager PyTorch makes Inf, then NaN, after a few blocks."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("conv1.weight", "conv3.weight")):
                weight *= factor
    return network


@pytest.fixture
def seen(monkeypatch) -> dict[str, list]:
    """What the watches of a forward pass looked at, and what they said."""
    seen: dict[str, list] = {"measured": [], "allowed": []}
    measure, allows = overflow.largest, Watch.allows

    def spy_on_largest(x):
        seen["measured"].append(tuple(x.shape))
        return measure(x)

    def spy_on_allows(self, step, x):
        seen["allowed"].append(allows(self, step, x))
        return seen["allowed"][-1]

    monkeypatch.setattr(overflow, "largest", spy_on_largest)
    monkeypatch.setattr(Watch, "allows", spy_on_allows)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("config", [
    SMALL,
    SMALL.replace(scale=8, deep_stem=True, stem_width=6, avg_down=True),
    SMALL.replace(cardinality=3, base_width=20),
], ids=["plain", "deep", "grouped"])  # fmt: skip
def test_overflow_of_finite_weights_ends_in_nan_as_in_eager(config, batch, dtype, randomize):
    reference = scaled(randomize(Res2Net(config)).eval(), 1e6).to(dtype)
    x = torch.randn(batch, 3, 64, 64).to(dtype)
    model = r2n_kernels.from_timm(reference, backend="torch")
    with torch.no_grad():
        expected = [*reference.feature_maps(x), reference(x)]
        for _ in range(3):  # plain weights, then packed ones
            actual = [*model.forward_intermediates(x)[1], model(x)]
    assert expected[-1].isnan().all()
    assert not expected[0].isnan().any()
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert torch.equal(a.isnan(), e.isnan()), i


def test_a_thousandfold_headline_gives_timms_nan(randomize):
    timm = pytest.importorskip("timm")
    peer = scaled(randomize(timm.create_model("res2net101_26w_4s")).eval(), 1e3)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert peer(x).isnan().all()
        assert r2n_kernels.from_timm(peer, backend="torch")(x).isnan().all()


def test_a_traced_graph_asks_for_no_value_and_passes_nan_on(randomize, seen):
    reference = scaled(randomize(Res2Net(SMALL)).eval(), 1e6)
    compiled = torch.compile(r2n_kernels.from_timm(reference, backend="torch"), backend="eager")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert reference(x).isnan().all()
        assert compiled(x).isnan().all()
    assert not seen["measured"]


@needs_onednn
@pytest.mark.parametrize("name", [
    name if name == "res2net50_26w_8s" else pytest.param(name, marks=pytest.mark.slow)
    for name in VARIANTS
])  # fmt: skip
@pytest.mark.parametrize(
    ("dtype", "randomized"),
    [
        (torch.float32, True),
        (torch.bfloat16, False),
        pytest.param(torch.float32, False, marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_variant_stays_fused_and_is_looked_at_seldom(
    name, randomized, dtype, randomize, seen
):
    torch.manual_seed(0)
    network = Res2Net(VARIANTS[name]).eval()
    network = randomize(network) if randomized else network
    model = r2n_kernels.from_timm(network, dtype=dtype, backend="torch")
    model(torch.randn(1, 3, 64, 64).to(dtype))
    assert all(seen["allowed"])
    blocks = sum(VARIANTS[name].layers)
    assert 2 <= len(seen["measured"]) <= 1 + blocks / 4


@needs_onednn
def test_the_trained_digits_stay_fused(seen):
    model = r2n_kernels.create_model(expand("digits"), pretrained=True, backend="torch")
    model(torch.randn(1, 1, 32, 32))
    assert all(seen["allowed"])
    assert seen["measured"] == [(1, 1, 32, 32)]  # eight narrow blocks fit below the limit


@needs_onednn
@pytest.mark.parametrize("limit", [300.0, 2000.0])
def test_leaving_fused_convolutions_halfway_changes_no_bit(limit, randomize, monkeypatch, seen):
    model = r2n_kernels.from_timm(randomize(Res2Net(SMALL)).eval(), backend="torch")
    x = torch.randn(3, 3, 64, 64)
    expected = model(x)
    monkeypatch.setattr(overflow, "LIMIT", limit)
    seen["allowed"].clear()
    assert torch.equal(model(x), expected)
    assert len(set(seen["allowed"])) == 2
    assert seen["allowed"] == sorted(seen["allowed"], reverse=True), "fused again"


def extremes(part: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """The largest sum inside a part of a network, and its largest output."""
    sums: list[float] = []
    norms = [module for module in part.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [
        norm.register_forward_hook(lambda _norm, _inputs, out: sums.append(out.max().item()))
        for norm in norms
    ]
    with torch.no_grad():
        output = part(x).max().item()
    for hook in hooks:
        hook.remove()
    return max(*sums, output), output


@pytest.mark.parametrize("config", [
    SMALL,
    SMALL.replace(scale=1),
    SMALL.replace(scale=2, in_chans=1),
    SMALL.replace(scale=5, deep_stem=True, stem_width=6, avg_down=True),
    SMALL.replace(cardinality=3, base_width=20),
    SMALL.replace(planes=(16, 14, 33)),  # layer1.0 needs no projection
], ids=["odd", "scale1", "scale2", "scale5-d", "grouped", "no-project"])  # fmt: skip
def test_the_bound_is_what_positive_weights_make_of_a_flat_image(config, randomize):
    """The worst case, which no weights exceed: it must lie below the bound, and just below."""
    network = randomize(Res2Net(config)).eval()
    for name, tensor in network.state_dict().items():
        tensor.abs_() if not name.endswith("running_mean") else tensor.zero_()
    bounds = growths(fold(config, network.state_dict(), torch.float32))
    parts = {"conv1.0" if config.deep_stem else "conv1": _Stem(network)}
    parts |= {f"{block.name}.conv1": network.get_submodule(block.name) for block in config.blocks()}
    assert bounds.keys() == parts.keys()
    sizes = [config.in_chans, *(block.in_channels for block in config.blocks())]
    for (name, part), channels in zip(parts.items(), sizes, strict=True):
        inside, output = extremes(part, torch.full((1, channels, 33, 33), 70.0))
        for actual, line in ((inside, "inside"), (output, "output")):
            bound = getattr(bounds[name], line).at(70.0)
            assert actual <= bound <= 1.25 * actual, (name, line)


class _Stem(nn.Module):
    def __init__(self, network: Res2Net) -> None:
        super().__init__()
        self.parts = nn.Sequential(network.conv1, network.bn1, network.act1)

    def forward(self, x):
        return self.parts(x)


def test_signs_count_where_they_can_cancel(randomize):
    """A negative image makes the most of negative weights; behind a ReLU they make nothing."""
    network = randomize(Res2Net(SMALL)).eval()
    state = network.state_dict()
    before = growths(fold(SMALL, state, torch.float32))
    for name in ("conv1.weight", "layer1.0.conv1.weight"):
        state[name].copy_(-state[name].abs())
    state["bn1.bias"].zero_()
    state["bn1.running_mean"].zero_()
    after = growths(fold(SMALL, state, torch.float32))
    assert after["conv1"].output.gain == after["conv1"].inside.gain > 0
    name = "layer1.0.conv1"
    assert after[name].output.gain < before[name].output.gain


def test_a_watch_carries_the_bound_and_looks_where_it_must(seen):
    growth = Growth(Line(1e10, 0.0), Line(1e9, 1.0))
    watch = Watch({f"block{i}": growth for i in range(4)})
    x = torch.full((1, 2, 3, 3), -2.0).contiguous(memory_format=CHANNELS_LAST)
    for i in range(4):  # 2e10, 2e19, 2e28, 2e37
        assert watch.allows(f"block{i}", x)
        assert watch.allows(f"block{i}.conv3", x)
    assert len(seen["measured"]) == 1
    assert watch.allows("block0", x)
    assert len(seen["measured"]) == 2
    assert not Watch({"block0": growth}).allows("block0", x * 1e28)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nan_and_inf_are_never_safe(value, dtype):
    x = torch.zeros(2, 3, 5, 5, dtype=dtype).contiguous(memory_format=CHANNELS_LAST)
    assert largest(x) == 0
    x[1, 2, 3, 4] = value
    assert not math.isfinite(largest(x))
    watch = Watch(
        {"a": Growth(Line(0.0, 0.0), Line(0.0, 0.0)), "b": Growth(Line(0, 0), Line(0, 0))}
    )
    assert not watch.allows("a", x)
    assert not watch.allows("b", torch.zeros_like(x)), "safe again"


def test_unknown_gains_are_never_safe():
    """Finite weights of which even the bound overflows."""
    zero = torch.zeros(1, 1, 2, 2).contiguous(memory_format=CHANNELS_LAST)
    growth = Growth(Line(math.inf, 0.0), Line(math.inf, 0.0))
    assert not Watch({"a": growth}).allows("a", zero)
