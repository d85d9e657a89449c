"""An opened bundle: what it offers, to whom, and what it says where it has nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from r2n_kernels.bundle import file, open_bundle
from r2n_kernels.bundle.file import packed_text
from r2n_kernels.bundle.manifest import Shape
from r2n_kernels.bundle.ops import Kernel
from r2n_kernels.bundle.source import TargetPlans
from r2n_kernels.engine.kernel_backend import pack
from r2n_kernels.errors import BundleError
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.weights.files import sha256_of

from . import handmade
from .handmade import BATCH, CONFIG, LABELS, SIZE


@pytest.fixture
def bundle(small_bundle):
    return open_bundle(small_bundle)


@pytest.fixture
def made(tmp_path):
    """made(**options): another bundle."""

    def make(**options):
        path = tmp_path / "other.r2n"
        handmade.make(path, **options)
        return open_bundle(path)

    return make


def changed(bundle, tmp_path, *, parts=None, without=(), **manifest):
    """The bundle with other parts and other entries of its manifest, rightly hashed."""
    whole = bundle.file
    kept = {name: whole.tensor(name) for name in whole.names if name not in without}
    path = tmp_path / "changed.r2n"
    file.write(path, {**whole.manifest, **manifest}, {**kept, **(parts or {})})
    return open_bundle(path)


def edited(bundle, tmp_path, name, change):
    """The bundle with a plan changed."""
    data = json.loads(bundle.file.text(name))
    change(data)
    return changed(bundle, tmp_path, parts={name: packed_text(json.dumps(data))})


def test_the_offer(bundle, made):
    assert bundle.offer() == "batch 2 of 33x40 on sm_80, sm_90"
    many = made(batches=(1, 8), sizes=((33, 40), (64, 64)))
    assert many.offer() == "batches 1, 8 of 33x40, batches 1, 8 of 64x64 on sm_80, sm_90"


def test_batches_of_a_size(made):
    bundle = made(batches=(8, 1))
    assert bundle.batches("sm_90", *SIZE) == (1, 8)
    assert bundle.batches("sm_90", 64, 64) == bundle.batches("sm_120", *SIZE) == ()


def test_an_uneven_offer(bundle, tmp_path):
    shapes = [s for s in bundle.file.manifest["shapes"] if s[0] == "sm_80"]
    more = ["sm_90", 1, 64, 64]
    name = str(Shape(*more))
    parts = {f"{kind}/{name}": packed_text("{}") for kind in ("plan", "proof")}
    other = changed(bundle, tmp_path, parts=parts, shapes=[*shapes, more])
    assert other.offer() == "batch 2 of 33x40 on sm_80; batch 1 of 64x64 on sm_90"


def test_a_shape(bundle):
    assert bundle.shape("sm_90", BATCH, *SIZE) == Shape("sm_90", BATCH, *SIZE)
    for other in (("sm_90", 3, 33, 40), ("sm_90", 2, 33, 41), ("sm_100", 2, 33, 40)):
        target, batch, h, w = other
        said = (
            f"{bundle} has no code for {batch} images of {h}x{w} on {target}; it has "
            "batch 2 of 33x40 on sm_80, sm_90"
        )
        with pytest.raises(BundleError, match=re.escape(said)):
            bundle.shape(*other)


def test_a_named_target(bundle):
    assert bundle.named_target("sm_90") == "sm_90"
    with pytest.raises(BundleError, match="has no code for sm_86; it has batch 2 of 33x40 on sm_8"):
        bundle.named_target("sm_86")


A_LOT = 10**9


@pytest.mark.parametrize(
    ("targets", "capability", "expected"),
    [
        (("sm_80", "sm_90"), 80, "sm_80"),
        (("sm_80", "sm_90"), 86, "sm_80"),
        (("sm_80", "sm_90"), 89, "sm_80"),
        (("sm_80", "sm_90"), 90, "sm_90"),
        (("sm_80", "sm_86"), 86, "sm_86"),
        (("sm_80", "sm_86"), 89, "sm_86"),
        (("sm_86", "sm_80"), 87, "sm_86"),
        (("sm_120",), 120, "sm_120"),
    ],
)
def test_code_for_a_chip(targets, capability, expected, made):
    assert made(targets=targets).target_for(capability, A_LOT) == expected


@pytest.mark.parametrize(
    ("targets", "capability", "said"),
    [
        (("sm_80", "sm_90"), 75, "7.5"),
        (("sm_86",), 80, "8.0"),
        (("sm_80", "sm_90"), 100, "10.0"),
        (("sm_90",), 89, "8.9"),
        (("sm_100",), 103, "10.3"),
        (("sm_120",), 121, "12.1"),
        (("sm_80",), 90, "9.0"),
    ],
)
def test_a_chip_without_code(targets, capability, said, made):
    offer = f"batch 2 of 33x40 on {', '.join(targets)}"
    match = rf"has no code for compute capability {re.escape(said)}; it has {offer}"
    with pytest.raises(BundleError, match=match):
        made(targets=targets).target_for(capability, A_LOT)


def test_too_much_shared_memory(bundle):
    """A 3090 has less of it than an A100, whose code it runs."""
    assert bundle.target_for(86, handmade.MUCH) == "sm_80"
    match = "its code for sm_80 needs 65,536 bytes of shared memory, this GPU has 65,535"
    with pytest.raises(BundleError, match=match):
        bundle.target_for(86, handmade.MUCH - 1)


def test_plans_are_those_of_the_schedule(bundle):
    for target in handmade.TARGETS:
        stored = bundle.plan(bundle.shape(target, BATCH, *SIZE))
        expected = build_plan(CONFIG, BATCH, *SIZE, torch.float16, "triton", target=TARGETS[target])
        assert stored.plan == expected
        assert bundle.plan(bundle.shape(target, BATCH, *SIZE)) is stored


def test_a_proof_has_the_batchs_code_on_few_images(made):
    bundle = made(targets=("sm_90",), batches=(8,))
    shape = bundle.shape("sm_90", 8, *SIZE)
    whole, few = bundle.plan(shape), bundle.plan(shape, proof=True)
    assert (whole.plan.batch, few.plan.batch) == (8, 2)
    assert few.codes.keys() == whole.codes.keys()


def test_plans_of_a_target(bundle):
    plans = TargetPlans(bundle, "sm_80", Kernel)
    plan = plans.plan(BATCH, *SIZE)
    op = plans.ops(plan)(plan.steps[1])
    assert (op.reads, op.writes) == (("x",), ("out",))
    with pytest.raises(BundleError, match="has no code for 1 images of 33x40 on sm_80"):
        plans.plan(1, *SIZE)


NAME = f"plan/{Shape('sm_90', BATCH, *SIZE)}"

OTHER = NAME.replace("sm_90", "sm_80")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.update(batch=1), "it is of another shape"),
        (lambda d: d.update(steps=[], kinds=[]), "it has no steps"),
        (lambda d: d["steps"][2].update(name="conv1"), "two of one name"),
        (lambda d: d["kinds"].pop(), "zip"),
        (lambda d: d.update(kinds=[-1] * len(d["kinds"])), "expected no negative number"),
        (lambda d: d["kinds"].__setitem__(0, 99), "IndexError"),
        (lambda d: d["ops"].pop("conv"), "KeyError: 'conv'"),
        (lambda d: d["ops"]["conv"].__setitem__(0, []), "step conv1 has other tensors"),
        (lambda d: d["steps"][1].update(reads=["nothing"]), "step conv1 is not bound"),
        (lambda d: d["steps"][1].update(reads=["input"]), "step conv1 is not bound"),
        (lambda d: d["steps"][0].update(reads=["image"]), "step input is not bound"),
        (lambda d: d["steps"][1].update(aside="pool"), "step conv1 is aside of pool, no main step"),
        (lambda d: d["steps"][1]["options"].update(x=1), "a tensor is an option"),
        (lambda d: d["launches"][0].pop("bytes"), "step input has launches for"),
        (lambda d: d["launches"][1].update({"": []}), "step conv1 has launches for"),
        (lambda d: d["launches"][1][""][0].update(code="0"), "KeyError: '0'"),
        (lambda d: d["launches"][1][""][0].update(grid=0), "a grid of 0 CTAs"),
        (lambda d: d["buffers"][2].__setitem__(1, [2, 2**60, 17, 20]), "stem is too large"),
        (lambda d: d["buffers"][1].__setitem__(1, [3]), r"buffer image has the shape \(3,\)"),
        (lambda d: d["buffers"][0].__setitem__(1, [2, 4, 33, 40]), "buffer input has the shape"),
        (lambda d: d["features"].reverse(), "buffer layer2.0.out has the shape"),
        (lambda d: d["features"].pop(), "zip"),
        (lambda d: d.__delitem__("steps"), "KeyError: 'steps'"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_run(change, match, bundle, tmp_path):
    other = edited(bundle, tmp_path, NAME, change)
    with pytest.raises(BundleError, match=f"part '{NAME}': .*{match}"):
        other.plan(other.shape("sm_90", BATCH, *SIZE))


def test_a_plan_of_another_targets_code(bundle, tmp_path):
    other = changed(bundle, tmp_path, parts={NAME: packed_text(bundle.file.text(OTHER))})
    with pytest.raises(BundleError, match="_kernel is for sm_80"):
        other.plan(other.shape("sm_90", BATCH, *SIZE))


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "[" * 100_000, '{"batch": 1e999}'])
def test_what_is_no_plan(text, bundle, tmp_path):
    other = changed(bundle, tmp_path, parts={NAME: packed_text(text)})
    with pytest.raises(BundleError, match=f"part '{NAME}': "):
        other.plan(other.shape("sm_90", BATCH, *SIZE))


def test_a_missing_part_is_found_at_once(bundle, tmp_path):
    code = next(iter(bundle.manifest.codes.values()))
    for name in (NAME, code.ptx, code.cubin, "weights/conv1/bias"):
        with pytest.raises(BundleError, match=f"is damaged: part '{name}' is missing"):
            changed(bundle, tmp_path, without=(name,))


def test_another_schema(bundle, tmp_path):
    match = "its manifest cannot be honoured: ValueError: schema 2, expected 1"
    with pytest.raises(BundleError, match=match):
        changed(bundle, tmp_path, schema=2)


def test_weights_come_back(bundle):
    _, packed = pack(CONFIG, handmade.network().state_dict(), torch.float16)
    found = bundle.weights()
    assert found.keys() == packed.keys()
    for step, conv in packed.items():
        for part, tensor in vars(conv).items():
            other = getattr(found[step], part)
            assert (tensor is None) == (other is None)
            assert tensor is None or torch.equal(tensor, other)


def test_no_weights_and_no_labels(made):
    bundle = made(weights=False, labels=None)
    assert bundle.labels() is None
    assert bundle.proof() is None
    with pytest.raises(BundleError, match="has no weights; pass a checkpoint"):
        bundle.weights()


def test_weights_of_another_dtype(bundle, tmp_path):
    parts = {"weights/conv1/weight": bundle.file.tensor("weights/conv1/weight").float()}
    with pytest.raises(BundleError, match=r"the weights of conv1 are in torch\.float32"):
        changed(bundle, tmp_path, parts=parts).weights()


def test_labels(bundle, tmp_path):
    assert bundle.labels() == LABELS
    for text in ("3", "{", "[" * 100_000):
        with pytest.raises(BundleError, match="part 'labels': "):
            changed(bundle, tmp_path, parts={"labels": packed_text(text)}).labels()
    with pytest.raises(BundleError, match="has 1 labels for 7 classes"):
        changed(bundle, tmp_path, parts={"labels": packed_text('["one"]')}).labels()


def test_a_proof_is_of_just_these_parts(bundle, tmp_path):
    proof = {file.PROOF: packed_text(json.dumps({"content": bundle.file.content(), "at": 1}))}
    proven = changed(bundle, tmp_path, parts=proof)
    assert proven.proof() == {"content": bundle.file.content(), "at": 1}
    other = changed(proven, tmp_path, name="other")
    with pytest.raises(BundleError, match="its proof is of other contents; `r2n prove` renews it"):
        other.proof()
    with pytest.raises(BundleError, match="part 'proof': "):
        changed(bundle, tmp_path, parts={file.PROOF: packed_text("[1]")}).proof()


def test_a_pinned_bundle(small_bundle):
    right = sha256_of(Path(small_bundle))
    assert open_bundle(small_bundle, sha256=right).manifest.name == "small"
    with pytest.raises(BundleError, match="has the SHA-256"):
        open_bundle(small_bundle, sha256="0" * 64)
