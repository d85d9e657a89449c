"""Whole networks with int8 blocks on the Triton backend, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from r2n_kernels import ConfigError, from_timm
from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.engine import TritonOptions, build_backend
from r2n_kernels.engine.kernel_backend import pack
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.targets import INTERPRETER, TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.chain import outputs_of
from r2n_kernels.reference import Res2Net, randomize

from ..int8_cases import network, noise, scales_of, twin_network

pytestmark = pytest.mark.skipif(not interpreted(), reason="there is a GPU")

SMALL = Res2NetConfig(layers=(2, 1, 2), planes=(13, 18, 33), in_chans=1, num_classes=7)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scales():
    return scales_of(SMALL, noise(SMALL, 4, 39, 38))


def normalized(config, *size, seed=1):
    images = noise(config, *size, seed=seed)
    return (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_network_is_its_twins_and_near_float32(dtype, scales):
    x = normalized(SMALL, 3, 33, 38)
    model = network(SMALL, "triton", dtype=dtype, triton=TritonOptions(int8=scales))
    backend = model._packed.backend
    plan = backend.plan(3, 33, 38)
    names = outputs_of(plan)
    found = dict(zip(names, backend.run(plan, x.to(dtype), names), strict=True))
    twins = twin_network(plan, x.to(dtype), backend.weights)
    with torch.no_grad():
        reference = randomize(Res2Net(SMALL).eval())
        maps = reference.feature_maps(x)
    for name, expected in zip(plan.features, maps, strict=True):
        assert found[name].dtype == dtype
        assert F.cosine_similarity(found[name].float(), expected, dim=1).mean() > 0.99, name
        if dtype == torch.float16:  # whose stem is the twin's, but for orders of sums
            assert (found[name] != twins[name]).double().mean() < 0.01, name
    assert F.cosine_similarity(found["logits"].float(), reference(x)).min() > 0.99
    assert "backend=triton (int8), " in repr(model)
    assert f" {str(dtype)[6:]}, blocks in int8 on 'triton': " in str(plan)
    torch.testing.assert_close(found["logits"], twins["logits"], rtol=0, atol=0.02)


def test_both_schedules_give_the_same_bits(scales):
    x = normalized(SMALL, 2, 33, 38).half()
    one, other = (
        network(
            SMALL, "triton", dtype=torch.float16,
            triton=TritonOptions(int8=scales, schedule=schedule),
        )(x)
        for schedule in ("throughput", "latency")
    )  # fmt: skip
    assert torch.equal(one, other)


def test_the_plan_counts_bytes_of_int8(scales):
    shape = (SMALL, 256, 224, 224, torch.float16, "triton")
    half, int8 = (build_plan(*shape, target=TARGETS["sm_90"], int8=s) for s in (None, scales))
    for step, other in zip(half.steps, int8.steps, strict=True):
        assert step.name == other.name
        whole = step.bytes_read + step.bytes_written
        moved = other.bytes_read + other.bytes_written
        if step.name.startswith("layer"):
            assert 0.49 < moved / whole < 0.51, step.name  # longer gaps behind images, perhaps
        elif step.op in ("conv_pool", "global_pool"):
            assert 0.5 < moved / whole < 1
        else:
            assert moved == whole
    convs = [step.note for step in int8.steps if step.op in ("stage", "resident_stage")]
    assert set(convs) == {"tiled: its Gluon is for elements of 16 bits, and these are int8"}
    assert int8.bytes_l2 < 0.85 * half.bytes_l2
    assert 0.5 < int8.weight_bytes / half.weight_bytes < 0.6
    assert int8.macs == half.macs


def test_a_headline_of_random_weights_is_near_float32():
    """Twins, which have the kernels' bits: the first two blocks of each layer, 64 px."""
    config = VARIANTS["res2net101_26w_4s"].replace(layers=(2, 2, 2, 2))
    scales = scales_of(config, noise(config, 4, 64, 64))
    x = normalized(config, 2, 64, 64)
    model = randomize(Res2Net(config).eval())
    _, packed = pack(config, model.state_dict(), torch.float16, scales)
    shape = (config, 2, 64, 64, torch.float16, "triton")
    found = twin_network(build_plan(*shape, target=INTERPRETER, int8=scales), x.half(), packed)
    with torch.no_grad():
        assert F.cosine_similarity(found["logits"].float(), model(x)).min() > 0.999


class TestRefused:
    def test_float32(self, scales):
        with pytest.raises(
            ConfigError, match=r"float16 or bfloat16 around them, got torch\.float32"
        ):
            network(SMALL, "triton", dtype=torch.float32, triton=TritonOptions(int8=scales))

    def test_scales_of_another_network(self, scales):
        with pytest.raises(ConfigError, match="expected scales of the blocks "):
            network(
                SMALL.replace(layers=(2, 1, 1)), "triton", dtype=torch.float16,
                triton=TritonOptions(int8=scales),
            )  # fmt: skip

    def test_what_is_no_scales(self):
        with pytest.raises(ConfigError, match="int8 must be ActivationScales, got dtype"):
            TritonOptions(int8=torch.int8)

    def test_a_choice_of_another_backend(self, scales):
        state = randomize(Res2Net(SMALL)).state_dict()
        with pytest.raises(ConfigError, match="is for backend 'triton', and 'auto' takes '"):
            build_backend(
                "auto", SMALL, state, torch.float16, CPU, TritonOptions(int8=scales)
            )  # fmt: skip

    def test_another_backend(self, scales):
        with pytest.raises(ConfigError, match="options of the triton backend were given for"):
            from_timm(Res2Net(SMALL), backend="torch", triton=TritonOptions(int8=scales))
