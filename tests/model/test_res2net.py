from __future__ import annotations

import copy
import io
import pickle
import threading

import pytest
import torch

import r2n_kernels
from r2n_kernels import ConfigError, InferenceOnlyError, InputError, WeightsError
from r2n_kernels.config import HEADLINE, POOLS, VARIANTS, Res2NetConfig, default_pretrained_cfg
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 2, 1, 1), planes=(9, 14, 20, 33), num_classes=7)
# one of each kind of stem, of convolution and of scale; test_model.py holds the reference to timm
QUICK = ("res2net50_26w_4s", "res2net50d", "res2next50")


@pytest.fixture(scope="module")
def small_reference(randomize):
    return randomize(Res2Net(SMALL)).eval()


BACKENDS = ["torch", "openvino"]  # of a CPU; "auto" takes the second where it is installed
HALF = {"torch": "float16 needs a GPU", "openvino": "on a CPU, got torch.float16"}
on_each = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(params=BACKENDS)
def small(request, small_reference):
    return r2n_kernels.from_timm(small_reference, backend=request.param)


def outputs(model, x) -> dict[str, torch.Tensor]:
    """Everything that timm's model and ours both give."""
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        named = {f"feature {i}": feature for i, feature in enumerate(maps)}
        named["forward_features"] = model.forward_features(x)
        named["embedding"] = model.forward_head(final, pre_logits=True)
        named["logits"] = model(x)
    return named


def marks(name: str, size: tuple[int, int]) -> list[pytest.MarkDecorator]:
    """Some variants at a small size by default, all slow; the headline at its own; more weekly."""
    if size == (65, 97):
        return [] if name in QUICK else [pytest.mark.slow]
    often = (name, size) == (HEADLINE, (224, 224))
    return [pytest.mark.slow if often else pytest.mark.weekly]


@on_each
@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=marks(name, size), id=f"{name}-{size[0]}x{size[1]}")
        for name in VARIANTS
        for size in ((65, 97), (160, 192), (224, 224))
    ],
)
def test_parity_with_timm_in_float32(name, size, backend, randomize, rel_error):
    timm = pytest.importorskip("timm")
    peer = randomize(timm.create_model(name, device="meta").to_empty(device="cpu")).eval()
    ours = r2n_kernels.from_timm(peer, backend=backend)
    x = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    expected, actual = outputs(peer, x), outputs(ours, x)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert rel_error(actual[key], value) <= 1e-5, key
    with torch.no_grad():
        assert rel_error(ours(x[:1]), expected["logits"][:1]) <= 1e-5  # without streams


@on_each
@pytest.mark.parametrize("config", [
    SMALL,
    SMALL.replace(scale=1),
    SMALL.replace(scale=2, base_width=48),
    SMALL.replace(scale=8, deep_stem=True, stem_width=6, avg_down=True),
    SMALL.replace(cardinality=3, base_width=20, in_chans=1),
    SMALL.replace(planes=(16, 14, 20, 33), in_chans=5),  # layer1.0 needs no projection
    SMALL.replace(layers=(2, 1), planes=(9, 14), num_classes=0),
], ids=["odd", "scale1", "scale2", "scale8-d", "grouped", "no-project", "2-stages"])  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 33, 47), (5, 64, 40)], ids=str)
def test_any_configuration_equals_the_reference(config, shape, backend, randomize, rel_error):
    reference = randomize(Res2Net(config)).eval()
    ours = r2n_kernels.from_timm(reference, backend=backend)
    x = torch.randn(shape[0], config.in_chans, *shape[1:])
    with torch.no_grad():
        expected = [*reference.feature_maps(x), reference(x)]
        actual = [*ours.forward_intermediates(x)[1], ours(x)]
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert rel_error(a, e) <= 1e-5, i


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("change", [
    lambda m: None,
    lambda m: setattr(m, "fc", torch.nn.Linear(132, 3)),
    lambda m: m.layer1.register_forward_hook(lambda *args: None) and None,
], ids=["backend", "other head", "module by module"])  # fmt: skip
def test_outputs_are_those_of_one_pass(change, dtype, small_reference):
    """The backend's head gives the bits of the modules', also behind streams of images."""
    model = r2n_kernels.from_timm(small_reference, dtype=dtype)
    change(model)
    for batch in (1, 9):
        x = torch.randn(batch, 3, 40, 56).to(dtype)
        with torch.no_grad():
            found = model.outputs(x, (0, -1), ("embedding", "logits"))
            maps = model.forward_intermediates(x)[1]
            wanted = [maps[0], maps[-1], *(model.forward_head(found[1], p) for p in (True, False))]
        for actual, expected in zip(found[:2], wanted[:2], strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-2 * expected.max())
        assert torch.equal(found[2], wanted[2])
        assert torch.equal(found[3], wanted[3])
        assert {output.dtype for output in found} == {dtype}


def test_non_contiguous_inputs_and_inputs_stay_untouched(small):
    x = torch.randn(4, 3, 50, 90)
    before = x.clone()
    expected = small(x).detach()
    assert torch.equal(x, before)
    views = {
        "channels_last": x.to(memory_format=torch.channels_last),
        "sliced": torch.cat([x, x], dim=3)[..., :90],
        "strided": x.repeat_interleave(2, dim=2)[:, :, ::2],
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": x[:1].expand(4, -1, -1, -1),
    }
    for name, view in views.items():
        assert not view.is_contiguous(), name
        wanted = expected[:1].expand(4, -1) if name == "expanded" else expected
        torch.testing.assert_close(small(view).detach(), wanted, rtol=1e-5, atol=1e-5, msg=name)


def test_nan_stays_in_its_image_and_reaches_its_logits(small):
    x = torch.randn(6, 3, 40, 40)
    clean = small(x).detach()
    for value in (float("nan"), float("inf")):
        poisoned = x.clone()
        poisoned[2, 1, 20, 20] = value
        logits = small(poisoned).detach()
        assert not torch.isfinite(logits[2]).any()
        others = [0, 1, 3, 4, 5]
        assert torch.equal(logits[others], clean[others])


def test_nan_spreads_as_in_eager(small, small_reference):
    x = torch.randn(1, 3, 96, 96)
    x[0, 0, 0, 0] = float("nan")
    with torch.no_grad():
        expected = small_reference.feature_maps(x)
        actual = small.forward_intermediates(x)[1]
    assert expected[0].isnan().any()
    assert not expected[0].isnan().all()
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a.isnan(), e.isnan())


@pytest.mark.parametrize("features_only", [False, True])
def test_empty_batch_gives_an_empty_result(small_reference, features_only):
    model = r2n_kernels.from_timm(small_reference, features_only=features_only)
    x = torch.empty(0, 3, 64, 64)
    result = model(x)
    if features_only:
        assert [tuple(f.shape) for f in result] == [
            (0, 64, 32, 32), (0, 36, 16, 16), (0, 56, 8, 8), (0, 80, 4, 4), (0, 132, 2, 2),
        ]  # fmt: skip
    else:
        assert result.shape == (0, 7)
        assert model.forward_features(x).shape == (0, 132, 2, 2)
        assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (0, 132)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ("cat.jpg", TypeError, "expected a torch.Tensor, got str"),
        (torch.zeros(3, 64, 64), InputError, r"shape \[N, 3, H, W\], got \[3, 64, 64\]"),
        (torch.zeros(1, 1, 64, 64), InputError, r"shape \[N, 3, H, W\], got \[1, 1, 64, 64\]"),
        (torch.zeros(1, 3, 64, 31), InputError, "at least 32x32, got 64x31"),
        (torch.zeros(1, 3, 64, 64).half(), InputError, "expected dtype torch.float32, got torch"),
        (torch.zeros(1, 3, 64, 64).byte(), InputError, r"expected bytes of shape \[N, H, W, 3\]"),
        (torch.zeros(1, 3, 64, 64, device="meta"), InputError, "on cpu, but the input is on meta"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_named(small, x, error, message):
    with pytest.raises(error, match=message):
        small(x)


def test_check_finite_names_the_images(small_reference):
    model = r2n_kernels.from_timm(small_reference, check_finite=True)
    x = torch.randn(4, 3, 32, 32)
    assert model(x).shape == (4, 7)
    x[1, 0, 3, 3], x[3, 2, 0, 0] = float("nan"), float("-inf")
    with pytest.raises(InputError, match=r"NaN or Inf in images \[1, 3\] of 4"):
        model(x)


def test_inference_only(small):
    assert small.eval() is small
    assert small.train(False) is small
    assert small.train() is small
    assert not any(module.training for module in small.modules())
    with pytest.raises(InferenceOnlyError, match=r"r2n_kernels\.reference\.Res2Net"):
        small.requires_grad_(True)
    x = torch.randn(1, 3, 32, 32, requires_grad=True)
    with pytest.raises(InferenceOnlyError, match=r"backward reached.*reference"):
        small(x).sum().backward()
    with pytest.raises(InferenceOnlyError, match="backward reached"):
        small.forward_intermediates(x)[1][1].sum().backward()
    assert not small(x.detach()).requires_grad
    small.layer1[0].conv1.weight.requires_grad_(True)
    with pytest.raises(InferenceOnlyError, match="backward reached"):
        small(x.detach()).sum().backward()
    with torch.no_grad():
        assert not small(x).requires_grad
    with torch.inference_mode():
        assert not small(x).requires_grad


def test_features_only(small_reference):
    model = r2n_kernels.from_timm(small_reference, features_only=True, out_indices=(1, -1))
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, every = model(x), small_reference.feature_maps(x)
    assert model.feature_info.channels() == [36, 132]
    for actual, expected in zip(maps, (every[1], every[4]), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="out_indices needs features_only"):
        r2n_kernels.from_timm(small_reference, out_indices=(1,))


@pytest.fixture(scope="module")
def timms(randomize):
    timm = pytest.importorskip("timm")
    return randomize(timm.create_model("res2net50_26w_4s")).eval()


@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool])
def test_global_pools_equal_timm(pool, timms, rel_error):
    peer = copy.deepcopy(timms)
    peer.reset_classifier(9, pool)
    ours = r2n_kernels.from_timm(peer)
    x = torch.randn(2, 3, 64, 64)
    assert ours.global_pool.pool_type == peer.global_pool.pool_type == pool
    assert ours.head_hidden_size == peer.head_hidden_size
    assert ours.global_pool.feat_mult() == peer.global_pool.feat_mult()
    with torch.no_grad():
        assert rel_error(ours(x), peer(x)) <= 1e-5
        maps = peer.forward_features(x)
        for pre_logits in (False, True):
            wanted = peer.forward_head(maps, pre_logits)
            assert rel_error(ours.forward_head(maps, pre_logits), wanted) <= 1e-6


def test_unpooled_and_headless(small_reference, randomize):
    config = SMALL.replace(num_classes=0)
    weights = {k: v for k, v in small_reference.state_dict().items() if not k.startswith("fc")}
    cfg = default_pretrained_cfg("res2net50_26w_4s")
    x = torch.randn(2, 3, 64, 64)
    unpooled = Res2NetModel(config.replace(global_pool=""), weights, pretrained_cfg=cfg)
    assert unpooled(x).shape == (2, 132, 2, 2)
    embedding = Res2NetModel(config, weights, pretrained_cfg=cfg)
    assert embedding(x).shape == (2, 132)
    assert isinstance(embedding.get_classifier(), torch.nn.Identity)
    with pytest.raises(ConfigError, match="needs num_classes=0"):
        r2n_kernels.from_timm(small_reference, global_pool="")
    with pytest.raises(ConfigError, match="unknown global_pool 'mean'"):
        r2n_kernels.from_timm(small_reference, global_pool="mean")


def test_reset_classifier(small):
    x = torch.randn(2, 3, 32, 32)
    trunk = small.forward_features(x).detach()
    small.reset_classifier(11)
    assert small(x).shape == (2, 11)
    assert small.num_classes == small.config.num_classes == 11
    assert small.state_dict()["fc.weight"].shape == (11, 132)
    small.reset_classifier(0, global_pool="max")
    assert torch.equal(small(x).detach(), trunk.amax(dim=(2, 3)))
    assert "fc.weight" not in small.state_dict()
    small.reset_classifier(0, "")
    assert torch.equal(small(x).detach(), trunk)
    with pytest.raises(ConfigError, match="needs num_classes=0"):
        small.reset_classifier(5)
    headless = r2n_kernels.create_model("res2net50_26w_4s", features_only=True)
    with pytest.raises(ConfigError, match="no classifier to reset"):
        headless.reset_classifier(3)


def test_state_dict_is_canonical_and_loads_back(small, small_reference, randomize):
    state = small.state_dict()
    for name, value in small_reference.state_dict().items():
        assert torch.equal(state[name], value), name
    assert list(state) == list(small_reference.state_dict())
    other = randomize(Res2Net(SMALL), seed=1).eval()
    x = torch.randn(1, 3, 32, 32)
    small.load_state_dict(other.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(small(x), other(x), rtol=1e-4, atol=1e-4)
    assert next(iter(torch.nn.Sequential(small).state_dict())) == "0.conv1.weight"


def test_a_failed_load_leaves_the_model_as_it_was(small, small_reference):
    x = torch.randn(1, 3, 32, 32)
    before = small(x).detach()
    bad = dict(small_reference.state_dict())
    bad["fc.bias"] = torch.zeros(8)
    with pytest.raises(WeightsError, match=r"fc\.bias"):
        small.load_state_dict(bad)
    with pytest.raises(WeightsError, match=r"fc\.bias"):
        small.load_state_dict(bad, strict=False)
    assert torch.equal(small(x).detach(), before)


def test_moves_and_casts_like_a_module(small):
    x = torch.randn(2, 3, 48, 48)
    exact = small(x).detach()
    small.to(torch.bfloat16)
    assert (small.dtype, small.fc.weight.dtype) == (torch.bfloat16, torch.float32)
    half = small(x.bfloat16()).detach()
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.1, atol=0.1 * exact.abs().max())
    assert torch.equal(small.float()(x).detach(), exact)  # folded anew from float32
    assert small.to("cpu", memory_format=torch.channels_last) is small
    with pytest.raises(ConfigError, match=r"got torch\.float64"):
        small.double()
    with pytest.raises(ConfigError, match=HALF[small.backend_name]):
        small.half()
    assert torch.equal(small(x).detach(), exact)


def test_copies_and_pickles(small):
    x = torch.randn(5, 3, 32, 32)
    expected = small(x).detach()
    buffer = io.BytesIO()
    torch.save(small, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(small),
        pickle.loads(pickle.dumps(small)),
        torch.load(buffer, weights_only=False),
    ):
        assert torch.equal(twin(x).detach(), expected)


def test_results_are_repeatable_and_safe_under_threads(small):
    """Packing of weights happens on the second call; groups run on streams: all bit-equal."""
    x = torch.randn(9, 3, 64, 64)
    first = small(x).detach()
    results: list[torch.Tensor] = []

    def work() -> None:
        results.extend(small(x).detach() for _ in range(4))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    for result in results:
        torch.testing.assert_close(result, first, rtol=1e-5, atol=1e-5)


def test_autocast_does_not_reach_inside(small):
    x = torch.randn(1, 3, 32, 32)
    expected = small(x).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(small(x).detach(), expected)


def test_plan_belongs_to_the_model(small):
    plan = small.plan(2, 64, 96)
    assert (plan.batch, plan.height, plan.width, plan.dtype) == (2, 64, 96, torch.float32)
    assert plan is small.plan(2, 64, 96)
    assert f"backend={plan.backend}, torch.float32, cpu" in repr(small)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_parity_on_cuda(dtype, randomize):
    from r2n_kernels.proof.parity import check_parity

    reference = randomize(Res2Net(VARIANTS["res2net50_26w_4s"])).eval()
    x = torch.randn(2, 3, 160, 192)
    rows = check_parity(reference, x, dtype, backend="torch", device="cuda")
    assert all(row.verdict.passed for row in rows), rows
