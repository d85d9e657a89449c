from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch

from r2n_kernels.compiled.instances import instances
from r2n_kernels.config import VARIANTS
from r2n_kernels.kernels.device import interpreted

from .conftest import stem_request

POINTER, ALIGNED = "*fp16", (("tt.divisibility", 16),)


@pytest.fixture(scope="module")
def answers(pool):
    requests = [
        stem_request("sm_90", batch=1),
        stem_request("sm_90", batch=2),
        stem_request("sm_90", batch=2, schedule="throughput"),
        stem_request("sm_90", batch=2, dtype=torch.bfloat16),
        stem_request("gfx942", batch=2),
    ]
    return dict(pool.map(instances, requests))


def by_kernel(answers, **wanted):
    (found,) = (
        answer
        for request, answer in answers.items()
        if all(getattr(request, name) == value for name, value in wanted.items())
    )
    return {instance.kernel: (instance, use) for instance, use in found}


@pytest.fixture(scope="module")
def two(answers):
    return by_kernel(answers, target="sm_90", batch=2, schedule="auto", dtype=torch.float16)


def attributes(instance, parameter):
    place = [name for name, _ in instance.signature].index(parameter)
    return dict(instance.attrs).get((place,))


class TestSpecialisation:
    def test_every_kernel_of_a_plain_network(self, two):
        assert set(two) == {
            "prepare", "conv", "maxpool", "conv1", "first_stage", "stage_split", "conv3",
            "global_pool", "linear",
        }  # fmt: skip

    def test_types(self, two):
        signature = dict(two["conv1"][0].signature)
        assert signature["x_ptr"] == POINTER
        assert signature["b_ptr"] == "*fp32"
        assert signature["M"] == "i32"
        assert signature["plane"] == "i64"
        assert signature["BLOCK_M"] == "constexpr"

    def test_tensors_are_aligned_and_large_multiples_of_16_too(self, two):
        assert attributes(two["conv1"][0], "x_ptr") == ALIGNED
        prepare = two["prepare"][0]  # strides of [2, 3, 64, 64]
        assert [attributes(prepare, f"stride_{a}") for a in "nch"] == [ALIGNED] * 3

    def test_one_becomes_a_constant(self, two):
        prepare = two["prepare"][0]
        assert dict(prepare.signature)["stride_w"] == "constexpr"
        assert prepare.constant["stride_w"] == 1

    def test_what_is_not_specialised(self, two, answers):
        maxpool = two["maxpool"][0]  # M = 512, a multiple of 16
        assert attributes(maxpool, "M") is None
        assert maxpool == by_kernel(answers, batch=1)["maxpool"][0]

    def test_amd_pointers_are_within_2_gb(self, answers):
        conv = by_kernel(answers, target="gfx942")["conv"][0]
        assert attributes(conv, "x_ptr") == (*ALIGNED, ("tt.pointer_range", 32))

    def test_bfloat16_is_not_widened(self, answers):
        """As it would be in the interpreter, under which these tests run."""
        conv1 = by_kernel(answers, dtype=torch.bfloat16)["conv1"][0]
        assert dict(conv1.signature)["x_ptr"] == "*bf16"
        assert conv1.constant["PRECISION"] == "ieee"


class TestUse:
    def test_launches_of_one_instance_are_counted(self, two):
        use = two["stage_split"][1]
        assert (use.batch, use.steps, use.launches) == (2, ("layer1.1.convs",), 3)
        assert use.grid > 1

    def test_schedule(self, answers):
        use = by_kernel(answers, schedule="throughput")["stage_images"][1]
        assert (use.launches, use.grid) == (1, 2)


class TestText:
    def test_parts(self, two):
        instance = two["conv1"][0]
        constant = instance.constant
        blocks = "x".join(str(constant[f"BLOCK_{side}"]) for side in "MNK")
        assert instance.tile == (blocks, f"s{constant['STAGES']}")
        assert instance.geometry == ("16x16", "256->128")  # the second block's
        tile = " ".join(instance.tile)
        assert instance.name == f"conv1 16x16 256->128 {tile} w{instance.warps}"

    def test_projection_shows_its_second_loop(self, answers):
        found = next(a for r, a in answers.items() if r.batch == 1)
        tiles = {dict(i.constant)["KS"] > 0: i.tile[0] for i, _ in found if i.kernel == "conv3"}
        assert tiles[True].count("x") == 3
        assert tiles[False].count("x") == 2

    def test_tensor_cores_are_wanted_where_16_bits_are_multiplied(self, two):
        wanting = {kernel for kernel, (instance, _) in two.items() if instance.wants_tensor_cores}
        assert wanting == {"conv", "conv1", "first_stage", "stage_split", "conv3", "linear"}


def test_plain_data(two):
    for instance, use in two.values():
        assert pickle.loads(pickle.dumps((instance, use))) == (instance, use)
        assert hash(dataclasses.replace(instance)) == hash(instance)


@pytest.mark.parametrize("name", ["res2next50", "res2net50d"])
def test_variants(pool, name):
    request = dataclasses.replace(stem_request("sm_90"), config=VARIANTS[name])
    ((_, answer),) = pool.map(instances, [request])
    kernels = {instance.kernel for instance, _ in answer}
    assert ("avgpool" in kernels) == (name == "res2net50d")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(interpreted(), reason="needs a GPU, to compile just in time")
def test_as_triton_compiles_just_in_time(pool):
    """The same PTX or AMDGCN as a launch makes on the GPU at hand."""
    from r2n_kernels.compiled.build import compile_instance
    from r2n_kernels.engine.triton_ops import allocate, bind
    from r2n_kernels.fold import fold
    from r2n_kernels.fold.triton_layout import pack_network
    from r2n_kernels.kernels.targets import TARGETS, target_of
    from r2n_kernels.plan import build_plan
    from r2n_kernels.reference import Res2Net

    device = torch.device("cuda")
    target = target_of(device)
    if target.name not in TARGETS:
        pytest.skip(f"{target.name} is not in the table of targets")
    request = stem_request(target.name)
    config = request.config
    state = Res2Net(config).state_dict()
    packed = pack_network(config, fold(config, state, torch.float32), state, request.dtype)
    weights = {
        name: dataclasses.replace(
            conv, weight=conv.weight.to(device), bias=conv.bias.to(device),
            shortcut=None if conv.shortcut is None else conv.shortcut.to(device),
        )
        for name, conv in packed.items()
    }  # fmt: skip
    plan = build_plan(
        config, request.batch, 64, 64, request.dtype, "triton", target=TARGETS[target.name]
    )
    x = torch.zeros(plan.buffers["input"].shape, dtype=request.dtype, device=device)
    buffers = {"input": x, **allocate(plan, device)}
    just_in_time = set()
    for step in plan.steps:
        for call in bind(step, buffers, weights).calls():
            options = {**call.args, **call.constants, **call.options}
            made = call.kernel.warmup(**options, grid=(1,))
            just_in_time.add(made.asm.get("ptx") or made.asm["amdgcn"])
    ((_, answer),) = pool.map(instances, [request])
    compiled = [result for _, result in pool.map(compile_instance, [i for i, _ in answer])]
    assert {c.texts.get("ptx") or c.texts["amdgcn"] for c in compiled} == just_in_time
