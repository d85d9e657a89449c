"""Whole networks on the Triton backend, in Triton's interpreter."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from r2n_kernels import ConfigError, from_timm
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine import TritonOptions
from r2n_kernels.engine.kernel_backend import WORKSPACES
from r2n_kernels.engine.triton_backend import TritonBackend
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.reference import Res2Net

pytestmark = pytest.mark.skipif(
    not interpreted(), reason="there is a GPU: test_triton_gpu.py runs on it"
)

# odd widths (5, 7, 13), a block of each kind, one channel in, a classifier that is no multiple of 8
SMALL = Res2NetConfig(layers=(2, 1, 2), planes=(13, 18, 33), in_chans=1, num_classes=7)
TINY = Res2NetConfig(layers=(1,), planes=(13,), num_classes=7)  # where the network says nothing
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reference(randomize) -> Res2Net:
    return randomize(Res2Net(SMALL)).eval()


@pytest.fixture(scope="module")
def tiny(randomize) -> Res2Net:
    return randomize(Res2Net(TINY)).eval()


def triton_model(reference: Res2Net, dtype: torch.dtype = torch.float16, **kwargs):
    kwargs.setdefault("triton", TritonOptions())
    return from_timm(reference, backend="triton", dtype=dtype, **kwargs)


def images(*shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


# chained and split stages give the same bits in every dtype (tests/kernels/test_order.py)
@pytest.mark.parametrize(
    ("schedule", "dtype"),
    [
        *[(schedule, torch.float16) for schedule in ("throughput", "latency")],
        *[
            pytest.param(schedule, dtype, marks=pytest.mark.slow)
            for schedule in ("throughput", "latency")
            for dtype in DTYPES
            if dtype != torch.float16
        ],
    ],
    ids=str,
)
def test_both_schedules_equal_the_reference(schedule, dtype, reference):
    from r2n_kernels.proof.parity import _run_eager, named
    from r2n_kernels.proof.tolerance import judge, oracle_dtype

    model = triton_model(reference, dtype, triton=TritonOptions(schedule=schedule))
    x = images(2, 1, 33, 38, dtype=dtype)
    final, maps = model.forward_intermediates(x)
    actual = named(maps, model.forward_head(final, pre_logits=True), model(x))
    eager, oracle = (
        _run_eager(copy.deepcopy(reference), x.to(as_type))
        for as_type in (dtype, oracle_dtype(dtype))
    )
    for name, expected in oracle.items():
        verdict = judge(name, actual[name], [eager[name]], expected, network=True)
        assert verdict.passed, verdict


def test_one_images_nan_leaves_the_others_bit_identical(reference):
    model = triton_model(reference)
    x = images(3, 1, 37, 41)

    def outputs() -> list[Tensor]:
        return model.outputs(x, range(4), ("embedding", "logits"))

    clean = outputs()
    x[0, :, 20:, 20:], x[2, :, 20:, 20:] = float("nan"), float("inf")
    poisoned = outputs()
    for one, other in zip(clean, poisoned, strict=True):
        assert torch.equal(one[1], other[1])
        for i in (0, 2):
            assert not other[i].isfinite().all(), "ReLU or a pool swallowed it"
    assert poisoned[-1][1].isfinite().all()
    assert poisoned[-1][[0, 2]].isnan().all()


def test_strides_of_the_input_do_not_matter(tiny):
    model = triton_model(tiny)
    x = images(2, 3, 32, 34)
    expected = model(x)
    wide = torch.full((2, 5, 70, 90), float("nan"), dtype=x.dtype)
    wide[:, 1:4, 2:66:2, 5:73:2] = x
    views = {
        "channels_last": x.to(memory_format=torch.channels_last),
        "sliced": wide[:, 1:4, 2:66:2, 5:73:2],
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
    }
    for name, view in views.items():
        assert torch.equal(view, x)
        assert torch.equal(model(view), expected), name
    assert torch.equal(model(x[:1].expand(2, -1, -1, -1)), expected[:1].expand(2, -1))


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_bytes_equal_normalised_floats(backend, tiny, rel_error):
    model = from_timm(tiny, backend=backend)
    model.pretrained_cfg.update(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    pixels = torch.randint(0, 256, (1, 64, 36, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(model.pretrained_cfg[key]) for key in ("mean", "std"))
    floats = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    assert rel_error(model(pixels), model(floats)) < 1e-6
    sliced = rel_error(model(pixels[:, ::2, 2:34]), model(floats[:, :, ::2, 2:34]))
    assert sliced < 1e-6


def test_outputs_belong_to_the_caller(tiny):
    model = triton_model(tiny)
    first, second = images(1, 3, 32, 32), images(1, 3, 32, 32) * 2
    kept = [model(first), *model.forward_intermediates(first)[1]]
    copies = [output.clone() for output in kept]
    model(second)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    assert kept[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_shapes_may_alternate_and_only_a_few_keep_buffers(tiny):
    model = triton_model(tiny)
    shapes = [(1, 32, 32), (2, 32, 32), (1, 40, 33), (1, 33, 32), (1, 32, 48)]
    assert len(shapes) > WORKSPACES
    expected = {shape: model(images(shape[0], 3, *shape[1:])) for shape in shapes}
    for shape in reversed(shapes):
        assert torch.equal(model(images(shape[0], 3, *shape[1:])), expected[shape])
    assert len(model._packed.backend._workspaces) == WORKSPACES


def test_batches_do_not_change_an_image(reference):
    """Dense rows of several images share tiles; an image's result must not depend on that."""
    model = triton_model(reference)
    x = images(2, 1, 37, 33)
    whole = model(x)
    for i in range(2):
        assert torch.equal(model(x[i : i + 1])[0], whole[i])


def test_threads_share_a_model(tiny):
    model = triton_model(tiny)
    inputs = [images(1 + i % 2, 3, 32, 32) * i for i in range(4)]
    expected = [model(x) for x in inputs]
    with ThreadPoolExecutor(3) as pool:
        for actual, wanted in zip(pool.map(model, inputs), expected, strict=True):
            assert torch.equal(actual, wanted)


@pytest.mark.slow
def test_models_run_side_by_side_in_threads(reference):
    """Triton's interpreter has one place for the program that runs, whatever the thread."""
    models = [triton_model(reference) for _ in range(2)]
    inputs = [images(1 + i % 2, 1, 32, 32) * i for i in range(3)]
    expected = [models[0](x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for i, actual in enumerate(pool.map(lambda i: models[i % 2](inputs[i % 3]), range(6))):
            assert torch.equal(actual, expected[i % 3]), i


def test_embeddings_features_and_new_classifiers(tiny, reference, rel_error):
    model = triton_model(tiny, torch.float32)
    x = images(1, 3, 32, 32, dtype=torch.float32)
    embedding = triton_model(tiny, torch.float32)
    embedding.reset_classifier(0)
    assert rel_error(embedding(x), model.forward_head(model.forward_features(x), True)) < 1e-6
    torch.manual_seed(0)
    model.reset_classifier(4)
    assert rel_error(model(x), model.forward_head(model.forward_features(x))) < 1e-5
    x = images(1, 1, 32, 32, dtype=torch.float32)
    maps = triton_model(reference, torch.float32, features_only=True, out_indices=[0, 2])(x)
    expected = reference.feature_maps(x)
    assert all(rel_error(a, expected[i]) < 1e-5 for a, i in zip(maps, [0, 2], strict=True))


def test_other_pools_run_on_the_kernels_feature_map(tiny, rel_error):
    x = images(1, 3, 32, 40, dtype=torch.float32)
    model = triton_model(tiny, torch.float32, global_pool="max")
    expected = tiny.fc(tiny.forward_features(x).amax(dim=(2, 3)))
    assert rel_error(model(x), expected) < 1e-5


def test_scale_one_and_a_single_stage(randomize):
    reference = randomize(Res2Net(Res2NetConfig(layers=(2,), planes=(9,), scale=1))).eval()
    x = images(1, 3, 33, 32, dtype=torch.float32)
    assert torch.allclose(triton_model(reference, torch.float32)(x), reference(x), atol=1e-5)


def test_an_empty_batch_gives_empty_outputs(reference):
    model = triton_model(reference)
    assert model(images(0, 1, 32, 32)).shape == (0, 7)
    assert model.forward_features(images(0, 1, 32, 32)).shape[0] == 0


def test_models_copy_and_pickle(tiny):
    model = triton_model(tiny)
    x = images(1, 3, 32, 32)
    expected = model(x).detach()
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)


def test_casting_packs_anew(tiny):
    model = triton_model(tiny)
    model.to(torch.float32)
    x = images(1, 3, 32, 32, dtype=torch.float32)
    assert torch.allclose(model(x), tiny(x), atol=1e-5)


def test_a_classifier_beyond_the_dtype_is_refused(reference):
    state = dict(reference.state_dict())
    state["fc.weight"] = state["fc.weight"] * 1e9
    with pytest.raises(ValueError, match=r"fc: .* not finite in torch.float16"):
        TritonBackend(SMALL, state, torch.float16, CPU, TritonOptions())


def test_unsupported_dtype_is_refused(reference):
    with pytest.raises(ConfigError, match=r"dtype must be one of .*, got torch.float64"):
        TritonBackend(SMALL, reference.state_dict(), torch.float64, CPU, TritonOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"schedule": "fast"},
            "unknown schedule 'fast'; expected one of auto, throughput, latency",
        ),
        ({"graphs": (0,)}, "graphs must be batch sizes of at least 1"),
        ({"graphs": ("8",)}, "graphs must be batch sizes of at least 1"),
    ],
)
def test_wrong_options_arenamed(options, message):
    with pytest.raises(ConfigError, match=message):
        TritonOptions(**options)


def test_torch_compile_leaves_the_backend_alone(tiny):
    model = triton_model(tiny)
    x = images(1, 3, 32, 32)
    expected = model(x).detach()
    with torch.no_grad():
        assert torch.equal(torch.compile(model, backend="eager")(x), expected)


def test_a_model_built_in_inference_mode_runs_outside(tiny):
    with torch.inference_mode():
        model = triton_model(tiny)
    x = images(1, 3, 32, 32)
    assert torch.equal(model(x), triton_model(tiny)(x))
    assert model.forward_head(model.forward_features(x)).shape == (1, 7)


def test_the_stems_map_has_memory_once_it_is_wanted(tiny):
    size = 62, 121  # a map that is pooled where it is made
    backend, x = triton_model(tiny)._packed.backend, images(1, 3, *size)
    plan = backend.plan(1, *size)
    assert len(plan.main) < len(plan.steps)
    (logits,) = backend.run(plan, x, ["logits"])
    (workspace,) = backend._workspaces.values()
    assert "stem" not in workspace.buffers
    assert workspace.knows(x, ["logits"])
    assert not workspace.knows(x, ["stem"])
    again, stem = backend.run(plan, x, ["logits", "stem"])
    assert torch.equal(again, logits)
    assert workspace.knows(x, ["stem"])
    latency = triton_model(tiny, triton=TritonOptions(schedule="latency"))._packed.backend
    found = latency.run(latency.plan(1, *size), x, ["logits", "stem"])
    for actual, expected in zip((logits, stem), found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=2e-3, atol=2e-3)  # other tiles
