"""A bundle's model, on the kernels' twins: what it computes, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch

from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.file import packed_text, write
from r2n_kernels.errors import BundleError, ConfigError, InferenceOnlyError, InputError
from r2n_kernels.model.bundled import BundledModel
from r2n_kernels.proof.tolerance import relative_error

from ..bundle import handmade
from ..bundle.handmade import BATCH, CFG, CONFIG, SIZE
from ..bundle.twins import TwinBackend

X = torch.randn(BATCH, 3, *SIZE, generator=torch.Generator().manual_seed(0)).half()


@pytest.fixture(scope="module")
def bundle(small_bundle):
    return open_bundle(small_bundle)


@pytest.fixture(scope="module")
def make(bundle):
    packed = bundle.weights()
    backends = [partial(TwinBackend, bundle, packed)]
    return lambda **options: BundledModel(bundle, backends, packed["fc"], **options)


@pytest.fixture(scope="module")
def model(make):
    return make()


@pytest.fixture(scope="module")
def network():
    return handmade.network()


def close(found, expected):
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 4e-3


@torch.no_grad()
def test_logits_are_the_networks(model, network):
    found = model(X)
    assert found.dtype == torch.float16
    close(found, network(X.float()))


@torch.no_grad()
def test_bytes_are_normalised_as_the_bundle_says(model, network):
    images = torch.randint(0, 256, (BATCH, *SIZE, 3), dtype=torch.uint8)
    mean, std = torch.tensor(CFG["mean"]), torch.tensor(CFG["std"])
    close(model(images), network(((images / 255 - mean) / std).permute(0, 3, 1, 2)))


@torch.no_grad()
def test_features_and_heads(model, network):
    maps = model.forward_intermediates(X, intermediates_only=True)
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [-(-SIZE[0] // r) for r in model.feature_info.reduction()] == [m.shape[2] for m in maps]
    last = model.forward_features(X)
    close(last, network.forward_features(X.float()))
    close(model.forward_head(last), network(X.float()))
    close(model.forward_head(last, pre_logits=True), last.float().mean((2, 3)))
    (embedding,) = model.outputs(X, (), ("embedding",))
    close(embedding, last.float().mean((2, 3)))


def test_features_only(make):
    model = make(features_only=True, out_indices=(0, 2))
    first, last = model(X)
    assert (first.shape[1], last.shape[1]) == (64, CONFIG.num_features)
    with pytest.raises(ConfigError, match="out_indices needs features_only=True"):
        make(out_indices=(0,))


def test_what_it_is(model):
    assert (model.num_classes, model.in_chans) == (7, 3)
    assert model.pretrained_cfg == model.default_cfg == CFG
    assert model.batches(*SIZE) == ()  # it was not told whose code it runs
    assert not model.training
    assert not model.train().training
    assert list(model.parameters()) == []
    assert "small.r2n, backend=twins, torch.float16, cpu" in repr(model)


def test_batches_are_those_of_its_target(make):
    model = make(target="sm_90")
    assert model.batches(*SIZE) == (BATCH,)
    assert model.batches(64, 64) == ()


def test_it_cannot_be_cast_or_moved(model):
    assert model.half() is model.to("cpu") is model
    with pytest.raises(ConfigError, match=r"runs in torch\.float16 on cpu here, and cannot be made "
                       r"torch\.float32 on cpu"):  # fmt: skip
        model.float()
    with pytest.raises(ConfigError, match=r"torch\.float16 on meta: create it there"):
        model.to("meta")


def test_wrong_inputs(model, make):
    with pytest.raises(BundleError, match="has no code for 1 images of 33x40 on sm_90; it has"):
        model(X[:1])
    with pytest.raises(InputError, match=r"expected dtype torch\.float16, got torch\.float32"):
        model(X.float())
    with pytest.raises(InputError, match=r"expected a tensor of shape \[N, 3, H, W\]"):
        model(X[:, :2])
    bad = X.clone()
    bad[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"NaN or Inf in images \[1\] of 2"):
        make(check_finite=True)(bad)


def test_gradients_are_refused(model):
    found = model(X.clone().requires_grad_())
    with pytest.raises(InferenceOnlyError):
        found.sum().backward()


def test_another_backend_has_what_the_first_has_not(bundle, tmp_path):
    """It is made when it is needed, and not before."""
    path = tmp_path / "other.r2n"
    handmade.make(path, targets=("sm_90",), batches=(1,))
    other, packed, made = open_bundle(path), bundle.weights(), []

    def second():
        made.append(TwinBackend(other, packed))
        return made[-1]

    model = BundledModel(bundle, [partial(TwinBackend, bundle, packed), second], packed["fc"])
    whole = model(X)
    assert made == []
    assert torch.equal(model(X[:1]), whole[:1])
    assert torch.equal(model(X[1:]), whole[1:])
    assert [plan.batch for plan in made[0].ran] == [1, 1]
    with pytest.raises(BundleError, match=r"other\.r2n has no code for 3 images"):
        model.plan(3, *SIZE)
    assert len(made) == 1


def test_no_images(model):
    assert model(X[:0]).shape == (0, 7)
    first, last = model.outputs(X[:0], (0,), ("embedding",))
    assert (first.shape, last.shape) == ((0, 64, 17, 20), (0, CONFIG.num_features))


def test_it_cannot_be_copied_pickled_or_scripted(model):
    with pytest.raises(ConfigError, match=r"small\.r2n cannot be copied or pickled: create it ag"):
        copy.deepcopy(model)
    with pytest.raises(ConfigError, match="cannot be copied or pickled"):
        pickle.dumps(model)
    with pytest.raises(ConfigError, match=r"torch\.jit\.script cannot read BundledModel"):
        torch.jit.script(model)


def test_labels_of_weights_that_are_not_the_bundles(make):
    assert make().labels() == handmade.LABELS
    names = [f"bird {i}" for i in range(7)]
    model = make(described={**CFG, "label_names": names})
    assert model.labels() == tuple(names)
    assert model.pretrained_cfg["label_names"] == names


def test_damage_is_no_lack_of_code(small_bundle, tmp_path):
    """The other backend is not asked."""
    path = tmp_path / "damaged.r2n"
    file = open_bundle(small_bundle).file
    parts = {name: file.tensor(name).clone() for name in file.names}
    (plan,) = (name for name in parts if name.startswith("plan/sm_90"))
    parts[plan] = packed_text("{}")
    write(path, file.manifest, parts)
    damaged = open_bundle(path)
    packed = damaged.weights()

    def never():
        raise AssertionError

    model = BundledModel(damaged, [partial(TwinBackend, damaged, packed), never], packed["fc"])
    with pytest.raises(BundleError, match=r"part 'plan/sm_90 .*KeyError"):
        model(X)
