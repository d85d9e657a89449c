"""What only a GPU can show. `r2n selftest` is the short form for users."""

from __future__ import annotations

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from r2n_kernels import ConfigError, from_timm
from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.engine import TritonOptions
from r2n_kernels.engine.precision import ieee_float32
from r2n_kernels.errors import KernelError
from r2n_kernels.kernels import versions
from r2n_kernels.kernels.call import MAX_ROWS
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.targets import target_of
from r2n_kernels.kernels.tiles import TileConfig, TileTable
from r2n_kernels.kernels.versions import missing_fence
from r2n_kernels.proof.chain import outputs_of
from r2n_kernels.proof.parity import check_parity, eager_model
from r2n_kernels.proof.tolerance import judge
from r2n_kernels.reference import Res2Net

from ..int8_cases import network, noise, scales_of, twin_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(interpreted(), reason="needs a CUDA GPU that the kernels support"),
]
DTYPES = (
    torch.float16,
    *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in (torch.bfloat16, torch.float32)),
)  # each compiles all kernels anew
SMALL = Res2NetConfig(layers=(2, 1, 2), planes=(13, 18, 33), num_classes=7)
EAGER = TritonOptions(graphs=())
MIB = 2**20


def images(n: int, size: int = 224, dtype: torch.dtype = torch.float16) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 3, size, size, generator=generator).to("cuda", dtype)


def on_gpu(model: nn.Module, dtype: torch.dtype = torch.float16, **kwargs) -> nn.Module:
    return from_timm(model, backend="triton", device="cuda", dtype=dtype, **kwargs)


@pytest.fixture(scope="module")
def headline() -> nn.Module:
    return eager_model(HEADLINE, "reference")


@pytest.fixture(scope="module")
def small(randomize) -> Res2Net:
    return randomize(Res2Net(SMALL)).eval()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [1, 8])
def test_headline_parity(batch, dtype, headline):
    x = images(batch, dtype=dtype).cpu()
    rows = check_parity(headline, x, dtype, backend="triton", device="cuda")
    assert all(row.verdict.passed for row in rows), [row.verdict for row in rows]


@pytest.mark.slow
def test_headline_parity_at_batch_256(headline):
    """With eager PyTorch on the same GPU: 256 images would take the CPU minutes."""
    ours, peer = on_gpu(headline), copy.deepcopy(headline).cuda()
    x = images(256)
    with torch.no_grad(), ieee_float32():
        oracle = peer(x.float())
        eager = peer.half()(x)
    verdict = judge("logits", ours(x), [eager], oracle, network=True)
    assert verdict.passed, verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name):
    x = torch.randn(2, 3, 96, 65)
    rows = check_parity(
        eager_model(name, "reference"), x, torch.float16, backend="triton", device="cuda"
    )
    assert all(row.verdict.passed for row in rows), [row.verdict for row in rows]


def test_graphs_replay_what_eager_computes(headline):
    eager, graphed = on_gpu(headline, triton=EAGER), on_gpu(headline)
    for n in (1, 8):
        noise = images(n)
        for factor in range(1, 5):  # eager, capture, replays
            x = noise * factor
            assert torch.equal(graphed(x), eager(x))
        workspace = next(
            w for w in graphed._packed.backend._workspaces.values() if w.plan.batch == n
        )
        assert any(workspace._graphs.values())
        assert not any(w._graphs for w in eager._packed.backend._workspaces.values())
        maps = (model.forward_intermediates(noise)[1] for model in (eager, graphed))
        assert all(torch.equal(a, b) for a, b in zip(*maps, strict=True))


def test_auto_takes_triton_unless_it_leaves_a_fence_out(small):
    expected = "torch" if missing_fence(target_of(torch.device("cuda", 0))) else "triton"
    assert from_timm(small, device="cuda")._packed.backend.name == expected


class TooLarge(TileTable):
    """Tiles that compile, and that no chip's shared memory holds."""

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        return dataclasses.replace(rule, block_m=256, block_k=64, warps=8, stages=8)


def test_kernels_that_do_not_fit(small, caplog, monkeypatch):
    monkeypatch.setattr(versions, "missing_fence", lambda _: "")  # auto takes them, if it can
    options, x = TritonOptions(tiles=TooLarge()), images(2, 64)
    for _ in range(2):  # the second model finds them compiled
        with pytest.raises(KernelError, match="does not compile here"):
            on_gpu(small, triton=options)(x)
        caplog.clear()
        model = from_timm(small, device="cuda", dtype=torch.float16, triton=options)
        assert torch.allclose(model(x), on_gpu(small)(x), rtol=1e-2, atol=1e-2)
        assert model._packed.backend.name == "torch"
        assert "the torch backend takes over" in caplog.text


def test_strides_of_the_input_do_not_matter(small):
    model, x = on_gpu(small), images(2, 64)
    expected = model(x)
    odd = x.new_full((2, 3, 70, 133), float("nan"))[:, :, 3:67, 1:129:2]  # aligned to 2 bytes
    odd.copy_(x)
    for view in (odd, x.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(model(view), expected)
    assert torch.equal(model(x[:1].expand(2, -1, -1, -1)), model(x[:1].repeat(2, 1, 1, 1)))


def test_bytes_equal_normalised_floats(small, rel_error):
    model = on_gpu(small, torch.float32)
    model.pretrained_cfg.update(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    pixels = torch.randint(0, 256, (2, 64, 48, 3), dtype=torch.uint8, device="cuda")
    mean, std = (torch.tensor(model.pretrained_cfg[key], device="cuda") for key in ("mean", "std"))
    floats = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    for _ in range(3):  # eager, capture, replay
        assert rel_error(model(pixels), model(floats)) < 1e-5


def test_streams_take_turns(small):
    model = on_gpu(small)
    inputs = [images(4, 64) * i for i in range(8)]
    expected = [model(x).clone() for x in inputs]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(4)]
    outputs = []
    for i, x in enumerate(inputs * 10):
        with torch.cuda.stream(streams[i % 4]):
            outputs.append(model(x))
    torch.cuda.synchronize()
    for i, output in enumerate(outputs):
        assert torch.equal(output, expected[i % 8]), i


def test_threads_and_models_side_by_side(small):
    models = [on_gpu(small), on_gpu(copy.deepcopy(small))]  # cold: both capture in the threads
    inputs = [images(1 + i % 3, 64) * i for i in range(12)]
    calm = on_gpu(small, triton=EAGER)
    expected = [calm(x) for x in inputs]

    def work(i: int) -> Tensor:
        with torch.cuda.stream(torch.cuda.Stream()):
            output = models[i % 2](inputs[i % 12])
            torch.cuda.current_stream().synchronize()
            return output

    torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as pool:
        for i, output in enumerate(pool.map(work, range(120))):
            assert torch.equal(output, expected[i % 12]), i


def test_memory_is_stable_over_1000_forwards(small):
    model, inputs = on_gpu(small), [images(n, 64) for n in (1, 3, 8)]
    for x in inputs * 3:
        model(x)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for i in range(1000):
        model(inputs[i % 3])
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + MIB


def test_200_repeats_are_bit_identical(headline):
    model, x = on_gpu(headline), images(8)
    first = model(x)
    assert all(torch.equal(model(x), first) for _ in range(200))


@torch.no_grad()
def test_users_capture_the_model_in_their_own_graph(small):
    model, x = on_gpu(small), images(2, 64)
    stream = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(ConfigError, match=r"run the model once on \[2, 3, 64, 64\] before"), \
            torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):  # fmt: skip
        model(x)
    expected = model(x).clone()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        output = model(x)
    (workspace,) = model._packed.backend._workspaces.values()
    for n in (1, 3, 4, 5, 6):  # shapes that would push the captured one's buffers out
        model(images(n, 64))
    assert workspace in model._packed.backend._workspaces.values()
    output.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(output, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
def test_a_model_on_the_second_gpu(small):
    x = images(2, 64)
    if torch.cuda.get_device_capability(0) != torch.cuda.get_device_capability(1):
        pytest.skip("the two GPUs differ, and so may their bits")
    first = on_gpu(small)
    expected = [first(x) for _ in range(3)][-1]  # it has captured
    other = from_timm(small, backend="triton", device="cuda:1", dtype=torch.float16)
    assert torch.cuda.current_device() == 0
    for _ in range(3):  # eager, capture, replay
        assert torch.equal(other(x.to("cuda:1")).cpu(), expected.cpu())


@pytest.mark.parametrize("shape", [(0, 64, 64), (1, 32, 500), (70000, 32, 32)], ids=str)
def test_unusual_launch_shapes(shape, small):
    """An empty grid, long lines, and more programs than a grid's second axis may have."""
    x = torch.randn(min(shape[0], 7), 3, *shape[1:]).to("cuda", torch.float16)
    repeats = -(-shape[0] // 7) if shape[0] > 7 else 1
    model = on_gpu(small, triton=TritonOptions(schedule="latency", graphs=()))
    output = model(x.repeat(repeats, 1, 1, 1))
    assert output.shape == (len(x) * repeats, 7)
    if len(x):
        copies = output.unflatten(0, (repeats, -1))
        assert torch.equal(copies, copies[:1].expand_as(copies))
        assert torch.allclose(copies[0], model(x), rtol=1e-2, atol=1e-2)  # other tiles, other sums


def test_too_many_pixels_are_refused(small):
    x = torch.empty(1, 3, 32, 32, device="cuda", dtype=torch.float16).expand(2**24, 3, 32, 32)
    with pytest.raises(ConfigError, match=f"the kernels count up to {MAX_ROWS}"):
        on_gpu(small)(x)


def test_one_images_nan_leaves_the_others_bit_identical(headline):
    model, x = on_gpu(headline), images(4)
    clean = model(x)
    x[1] = float("nan")
    poisoned = model(x)
    assert torch.equal(clean[[0, 2, 3]], poisoned[[0, 2, 3]])
    assert poisoned[1].isnan().all()


@pytest.mark.parametrize("schedule", ["throughput", "latency"])
def test_int8_blocks_are_their_twins(schedule):
    """Launched, captured, replayed; the stem and the head are floats, in another order of sums."""
    scales, seen = scales_of(SMALL, noise(SMALL, 4, 64, 64)), noise(SMALL, 2, 64, 64, seed=1)
    options = TritonOptions(schedule=schedule, graphs=(2,), int8=scales)
    model = network(SMALL, "triton", dtype=torch.float16, device="cuda", triton=options)
    x = ((seen.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25).half()
    backend = model._packed.backend
    plan = backend.plan(2, 64, 64)
    packed = {name: conv.changed(Tensor.cpu) for name, conv in backend.weights.items()}
    names, twins = outputs_of(plan), twin_network(plan, x, packed)
    for _ in range(3):
        found = dict(zip(names, backend.run(plan, x.cuda(), names), strict=True))
        for name in plan.features:
            assert (found[name].cpu() != twins[name]).double().mean() < 0.02, name
        torch.testing.assert_close(found["logits"].cpu(), twins["logits"], rtol=0, atol=0.02)
