"""The plain Res2Net against timm: parameters, every feature map, embedding, logits, training."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.res2net import Bottle2neck as TimmBlock
from timm.models.resnet import ResNet
from torch import nn

from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.reference import Res2Net

TOLERANCE = 1e-5  # fp32, random weights and random BatchNorm statistics
INPUTS = {"odd": (3, 3, 65, 97), "square": (1, 3, 64, 64)}


def tiny(**changes) -> Res2NetConfig:
    """Four shallow stages with odd split widths (5, 9, 13, 19)."""
    return Res2NetConfig((2, 2, 1, 2), (13, 23, 33, 47), num_classes=7).replace(**changes)


GENERAL = {
    "odd widths": tiny(),
    "scale 1": tiny(scale=1),
    "scale 2": tiny(scale=2),
    "scale 3": tiny(scale=3),
    "cardinality 2": tiny(cardinality=2),
    "one channel in": tiny(in_chans=1),
    "five channels in": tiny(in_chans=5),
    "no classifier": tiny(num_classes=0),
    "three stages": tiny(layers=(1, 2, 1), planes=(16, 32, 24)),
    "deep stem": tiny(deep_stem=True, stem_width=20),
    "average down": tiny(avg_down=True),
    # layer1.0 neither strides nor projects, so it is no first block: 16 * 4 = the stem's 64.
    "no projection in layer1": tiny(planes=(16, 23, 33, 47)),
}


def timm_of(config: Res2NetConfig) -> ResNet:
    """timm's model of any config."""
    model = ResNet(
        TimmBlock,
        config.layers,
        num_classes=config.num_classes,
        in_chans=config.in_chans,
        cardinality=config.cardinality,
        base_width=config.base_width,
        stem_width=config.stem_width,
        stem_type="deep" if config.deep_stem else "",
        avg_down=config.avg_down,
        channels=config.planes,
        block_args={"scale": config.scale},
    )
    for stage in range(len(config.layers), 4):  # its forward pass names all four
        model.add_module(f"layer{stage + 1}", nn.Identity())
    return model


def image(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pair(request, randomize) -> tuple[Res2Net, ResNet]:
    """Our model and timm's on the same random weights, in eval mode; neither is to be changed.

    Built without memory first, which skips their own initialisation.
    """
    theirs = timm.create_model(request.param, device="meta").to_empty(device="cpu")
    with torch.device("meta"):
        ours = Res2Net(VARIANTS[request.param])
    ours.load_state_dict(randomize(theirs).state_dict(), strict=True, assign=True)
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize(
    "pair",
    [pytest.param(n, marks=[pytest.mark.slow] if "101" in n else []) for n in VARIANTS],
    indirect=True,
    ids=list(VARIANTS),
)
class TestVariants:
    def test_state_dict_is_timms(self, pair):
        ours, theirs = pair
        mine, timms = ours.state_dict(), theirs.state_dict()
        assert list(mine) == list(timms)
        assert all(mine[k].shape == v.shape and mine[k].dtype == v.dtype for k, v in timms.items())
        assert any(name.endswith("num_batches_tracked") for name in mine)
        theirs.load_state_dict(mine, strict=True)  # the other way; values are already equal
        assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]

    @pytest.mark.parametrize("shape", INPUTS.values(), ids=INPUTS.keys())
    @torch.inference_mode()
    def test_outputs_are_timms(self, pair, shape, rel_error):
        ours, theirs = pair
        x = image(shape)
        features = ours.feature_maps(x)
        last, expected = theirs.forward_intermediates(x, indices=5)
        for index, (actual, wanted) in enumerate(zip(features, expected, strict=True)):
            assert rel_error(actual, wanted) <= TOLERANCE, f"feature map {index}"
        embedding = theirs.forward_head(last, pre_logits=True)
        assert rel_error(ours.forward_features(x), last) <= TOLERANCE
        assert rel_error(ours.forward_head(last, pre_logits=True), embedding) <= TOLERANCE
        assert rel_error(ours(x), theirs(x)) <= TOLERANCE

    @torch.inference_mode()
    def test_features_are_those_of_features_only(self, pair, rel_error):
        ours, theirs = pair
        name = next(n for n, config in VARIANTS.items() if config is ours.config)
        indices = (0, 1, 2, 3, 4)
        extractor = timm.create_model(name, features_only=True, out_indices=indices, device="meta")
        weights = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
        extractor.load_state_dict(weights, strict=True, assign=True)
        x = image((1, 3, 64, 64))
        for actual, wanted in zip(ours.feature_maps(x), extractor.eval()(x), strict=True):
            assert rel_error(actual, wanted) <= TOLERANCE


@pytest.mark.parametrize("config", GENERAL.values(), ids=GENERAL.keys())
class TestGeneralConfigs:
    @torch.inference_mode()
    def test_outputs_are_timms(self, config, randomize, rel_error):
        theirs = randomize(timm_of(config)).eval()
        ours = Res2Net(config).eval()
        ours.load_state_dict(theirs.state_dict(), strict=True)
        for height, width in ((32, 32), (65, 97)):
            x = image((2, config.in_chans, height, width))
            features = ours.feature_maps(x)
            expected = theirs.forward_intermediates(x, intermediates_only=True)
            assert len(features) == len(config.layers) + 1
            for actual, wanted in zip(features, expected[: len(features)], strict=True):
                assert rel_error(actual, wanted) <= TOLERANCE
            assert rel_error(ours(x), theirs(x)) <= TOLERANCE

    def test_training_is_timms(self, config, randomize, rel_error):
        theirs = randomize(timm_of(config)).train()
        ours = Res2Net(config).train()
        ours.load_state_dict(theirs.state_dict(), strict=True)
        # In float64, where the two orders of summation cannot amplify each other.
        ours, theirs = ours.double(), theirs.double()
        x = image((4, config.in_chans, 64, 96)).double()
        actual, wanted = ours(x), theirs(x)
        assert rel_error(actual, wanted) <= 1e-9
        for out in (actual, wanted):
            out.square().mean().backward()
        gradients = {name: p.grad for name, p in theirs.named_parameters()}
        for name, parameter in ours.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
            assert rel_error(parameter.grad, gradients[name]) <= 1e-7, name
        buffers = dict(theirs.named_buffers())
        for name, buffer in ours.named_buffers():  # running statistics moved alike
            assert rel_error(buffer, buffers[name]) <= 1e-9, name


def test_train_mode_of_a_variant_is_timms(randomize, rel_error):
    theirs = randomize(timm.create_model("res2net50_26w_4s")).train()
    ours = Res2Net(VARIANTS["res2net50_26w_4s"]).train()
    ours.load_state_dict(theirs.state_dict())
    x = image((2, 3, 64, 64))
    with torch.no_grad():
        assert rel_error(ours(x), theirs(x)) <= 1e-4  # batch statistics of 8 values amplify


def test_no_classifier_returns_the_embedding():
    model = Res2Net(tiny(num_classes=0)).eval()
    assert isinstance(model.fc, nn.Identity)
    assert model(image((2, 3, 32, 32))).shape == (2, 4 * 47)


def test_output_does_not_depend_on_the_rest_of_the_batch(randomize, rel_error):
    model = randomize(Res2Net(tiny())).eval()
    x = image((3, 3, 65, 97))
    with torch.inference_mode():
        assert rel_error(model(x)[1:2], model(x[1:2])) <= TOLERANCE


def test_hierarchical_add_reaches_later_splits(randomize):
    """In a second block y_3 depends on y_1; in a stage's first block it does not."""
    model = randomize(Res2Net(tiny())).eval()
    for index, depends in ((0, False), (1, True)):
        block = model.layer2[index]
        assert block.is_first is not depends
        assert (block.pool is None) is depends
        seen: list[torch.Tensor] = []
        block.convs[2].register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        x = image((1, block.conv1.in_channels, 8, 8))
        with torch.no_grad():
            block(x)
            block.convs[0].weight.mul_(2)
            block(x)
        assert torch.equal(*seen) is not depends
