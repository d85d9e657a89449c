"""FusedBlock against the reference's block, and under torch.compile and torch.export."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch

from r2n_kernels import ConfigError, InferenceOnlyError, InputError
from r2n_kernels.block import FusedBlock
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.fold import fold
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.proof.tolerance import judge, oracle_dtype
from r2n_kernels.reference import Res2Net, randomize

DEVICE = torch.device("cpu" if interpreted() else "cuda")
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
LAYERS = {"layers": (2, 1), "planes": (16, 24), "num_classes": 0}
CONFIGS = {
    "plain": Res2NetConfig(**LAYERS),
    "scale2": Res2NetConfig(**LAYERS, base_width=48, scale=2),
    "scale8": Res2NetConfig(**LAYERS, base_width=14, scale=8),
    "scale1": Res2NetConfig(**LAYERS, base_width=40, scale=1),
    "grouped": Res2NetConfig(**LAYERS, base_width=8, cardinality=4),
    "avg_down": Res2NetConfig(**LAYERS, stem_width=12, deep_stem=True, avg_down=True),
}
KINDS = {"first": "layer1.0", "hierarchical": "layer1.1", "strided": "layer2.0"}
parity = pytest.mark.parametrize("dtype", DTYPES, ids=str)
half_by_default = pytest.mark.parametrize(
    "dtype", [DTYPES[0], *(pytest.param(d, marks=pytest.mark.slow) for d in DTYPES[1:])], ids=str
)
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    """All blocks share one `forward`, and Dynamo counts its recompilations together."""
    torch._dynamo.reset()


@cache
def network(config: str) -> Res2Net:
    return randomize(Res2Net(CONFIGS[config])).eval().requires_grad_(False)


@cache
def block(config: str, kind: str, dtype: torch.dtype) -> FusedBlock:
    return FusedBlock.from_network(network(config), KINDS[kind], dtype=dtype, device=DEVICE)


def image(fused: FusedBlock, n: int = 2, h: int = 5, w: int = 7) -> torch.Tensor:
    shape = (n, fused.geometry["in_channels"], h, w)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(n))
    return x.to(DEVICE, fused.w1.dtype)


def in_turn() -> Iterator[Any]:
    """Every kind of every configuration in one dtype, the dtypes in turn; the others are slow."""
    for turn, (config, kind) in enumerate(product(CONFIGS, KINDS)):
        for dtype in DTYPES:
            marks = [] if dtype == DTYPES[(turn + turn // 3) % 3] else [pytest.mark.slow]
            yield pytest.param(config, kind, dtype, marks=marks)


@pytest.mark.parametrize(("config", "kind", "dtype"), [*in_turn()], ids=str)
def test_parity_with_the_reference(config, kind, dtype):
    fused = block(config, kind, dtype)
    x = image(fused)
    actual = fused(x)
    plain = copy.deepcopy(network(config).get_submodule(KINDS[kind])).to(DEVICE)
    oracle = plain.to(oracle_dtype(dtype))(x.to(oracle_dtype(dtype)))
    eager = copy.deepcopy(plain).to(dtype)(x)
    assert actual.dtype == dtype
    assert actual.is_contiguous(memory_format=torch.channels_last)
    verdict = judge("block", actual.cpu(), [eager.cpu()], oracle.cpu())
    assert verdict.passed, verdict


def test_built_of_a_folded_block():
    config = CONFIGS["plain"]
    folded = fold(config, network("plain").state_dict(), torch.float32).blocks["layer1.1"]
    chosen = next(b for b in config.blocks() if b.name == "layer1.1")
    fused = FusedBlock(config, chosen, folded, device=DEVICE)
    x = image(fused)
    assert torch.equal(fused(x), block("plain", "hierarchical", torch.float32)(x))


@kinds
def test_any_strides_and_the_input_stays(kind):
    fused = block("plain", kind, torch.float16)
    x = image(fused, 2, 6, 6)
    before, expected = x.clone(), fused(x)
    assert torch.equal(x, before)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(fused(last), expected)
    assert torch.equal(last, before)
    wide = torch.cat([x, x], dim=1).contiguous(memory_format=torch.channels_last)
    assert torch.equal(fused(wide[:, : x.shape[1]]), expected)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(fused(turned), expected)


def test_empty_batch_and_one_pixel():
    fused = block("plain", "strided", torch.float32)
    assert fused(image(fused, 0, 6, 5)).shape == (0, 96, 3, 3)
    assert fused(image(fused, 1, 1, 1)).shape == (1, 96, 1, 1)


@half_by_default
@kinds
def test_compiled_gives_eagers_bits_for_every_batch(kind, dtype):
    fused = block("avg_down", kind, dtype)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    for n in (1, 2, 3):
        x = image(fused, n)
        assert torch.equal(compiled(x), fused(x))


def test_a_dynamic_batch_is_compiled_once():
    fused = block("plain", "hierarchical", torch.float16)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(fused, fullgraph=True, backend=counter, dynamic=True)
    for n in (2, 3, 5):
        x = image(fused, n, 4 + n, 9)
        assert torch.equal(compiled(x), fused(x))
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param(kind, dtype, marks=pytest.mark.slow if here == there else pytest.mark.weekly)
        for here, kind in enumerate(KINDS)
        for there, dtype in enumerate(DTYPES)
    ],
)
def test_inductor_gives_eagers_bits(kind, dtype):
    """Each kind in one dtype, weekly in all: eager mode has the dtypes by default."""
    fused = block("avg_down", kind, dtype)
    compiled = torch.compile(lambda x: fused(x * 2) + 1, fullgraph=True, backend="inductor")
    for n in (1, 2, 3):
        x = image(fused, n)
        assert torch.equal(compiled(x), fused(x * 2) + 1)


@half_by_default
@kinds
def test_exported_saved_and_loaded(kind, dtype, tmp_path):
    fused = block("avg_down", kind, dtype)
    dims = ({0: torch.export.Dim("batch"), 2: torch.export.Dim.AUTO},)
    program = torch.export.export(fused, (image(fused),), dynamic_shapes=dims)
    torch.export.save(program, tmp_path / "block.pt2")
    loaded = torch.export.load(tmp_path / "block.pt2").module()
    for n, h in ((2, 5), (3, 8)):
        x = image(fused, n, h)
        assert torch.equal(program.module()(x), fused(x))
        assert torch.equal(loaded(x), fused(x))


@pytest.mark.parametrize(
    ("kind", "batch"), [*((kind, 2) for kind in KINDS), ("strided", 1)], ids=str
)
def test_opcheck(kind, batch):
    fused = block("plain", kind, torch.float32)
    weights = (fused.w1, fused.b1, fused.w2, fused.b2, fused.w3, fused.b3, fused.ws)
    op = torch.ops.r2n_kernels.block.default
    results = torch.library.opcheck(op, (image(fused, batch), *weights), fused.geometry)
    assert set(results.values()) == {"SUCCESS"}


def test_in_place_of_a_networks_blocks():
    net = copy.deepcopy(network("plain")).to(DEVICE)
    fused = {name: FusedBlock.from_network(net, name) for name in ("layer1.0", "layer2.0")}
    x = torch.randn(1, 3, 32, 32, device=DEVICE)
    expected = net(x)
    for name, part in fused.items():
        net.set_submodule(name, part)
    assert judge("embedding", net(x), [expected], expected, network=True).passed


def test_casts_keep_the_biases_and_match_a_build_in_that_dtype():
    fused = FusedBlock.from_network(network("plain"), "layer1.0", device=DEVICE).half()
    built = block("plain", "first", torch.float16)
    for name, tensor in built.named_buffers():
        assert torch.equal(tensor, fused.get_buffer(name)), name
        assert tensor.dtype == fused.get_buffer(name).dtype
    assert fused.b1.dtype == torch.float32
    with pytest.raises(ConfigError, match=r"dtype must be one of .*, got torch.float64"):
        fused.double()
    copied = FusedBlock.from_network(network("plain"), "layer1.0", dtype=torch.float16)
    copied.load_state_dict(built.state_dict())
    x = image(built)
    assert torch.equal(copied.to(DEVICE)(x), built(x))


def test_refusals():
    fused = block("plain", "first", torch.float16)
    x = image(fused)
    with pytest.raises(InputError, match=r"expected a tensor of shape \[N, 64, H, W\], got \[2, 9"):
        fused(x[:, :9])
    with pytest.raises(InputError, match=r"of shape \[N, 64, H, W\], got \[64, 5, 7\]"):
        fused(x[0])
    with pytest.raises(InputError, match=r"at least one pixel, got \[2, 64, 0, 7\]"):
        fused(x[:, :, :0])
    with pytest.raises(InputError, match=r"expected dtype torch.float16, got torch.float32"):
        fused(x.float())
    with pytest.raises(InputError, match=r"the block is on .*, but the input is on meta"):
        fused(x.to("meta"))
    with pytest.raises(ConfigError, match=r"no block 'layer9.0'; expected one of layer1.0,"):
        FusedBlock.from_network(network("plain"), "layer9.0")
    with pytest.raises(ConfigError, match=r"dtype must be one of .*, got torch.int8"):
        FusedBlock.from_network(network("plain"), "layer1.0", dtype=torch.int8)
    with pytest.raises(InferenceOnlyError, match=r"train\(\) was called"):
        fused.train()
    with pytest.raises(InferenceOnlyError, match="backward reached a fused block"):
        fused(x.requires_grad_()).sum().backward()
