from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.fold import FoldedConv
from r2n_kernels.fold.quantization import Quantization, Range, hash_trunk

WEIGHT = torch.tensor([[127.0, -127.4, 0.4, 63.5], [0.3, -0.2, 0.0, 1.27]])[:, :, None, None]
SCALE = torch.tensor([1.0, 0.01])


def of(state, **changes) -> Quantization:
    made = Quantization({"conv": SCALE}, {"conv:0": Range(0.0, 1.0, 256)}, hash_trunk(state))
    return replace(made, **changes)


def state(**changes) -> dict[str, torch.Tensor]:
    found = {"conv1.weight": torch.ones(2), "fc.weight": torch.ones(3), "fc.bias": torch.ones(1)}
    return found | {"bn1.num_batches_tracked": torch.tensor(1)} | changes


def test_weights_are_rounded_by_their_channel():
    """A tie goes where NNCF's counting from the lowest level takes it."""
    conv = FoldedConv("conv", WEIGHT, torch.ones(2))
    other = FoldedConv("other", WEIGHT, torch.ones(2))
    found = of(state()).applied({"step": (conv, other)})["step"]
    assert found[0].weight.dtype == torch.int8
    assert found[0].weight.flatten(1).tolist() == [[127, -127, 0, 63], [30, -20, 0, 127]]
    assert torch.equal(found[0].scale, SCALE)
    assert found[1] is other


@pytest.mark.parametrize("name", ["conv", "elsewhere"])
def test_a_scale_of_another_network_is_refused(name):
    conv = FoldedConv("conv", WEIGHT[:1], torch.ones(1))
    with pytest.raises(WeightsError, match=rf"the quantization has {name} \[2\], not so here"):
        of(state(), scales={name: SCALE}).applied({"step": (conv,)})


def test_changed_weights_are_refused():
    made = of(state())
    made.check(state(**{"bn1.num_batches_tracked": torch.tensor(9)}))
    made.check(state(**{"fc.weight": torch.ones(4)}))  # the classifier is float
    with pytest.raises(WeightsError, match="changed after they were quantized: run `r2n quantize`"):
        made.check(state(**{"conv1.weight": torch.zeros(2)}))


def test_digest_sees_scales_and_ranges_and_no_facts():
    made = of(state())
    assert of(state(), facts={"images": 3}).digest == made.digest
    others = [{"scales": {"conv": SCALE * 2}}, {"ranges": {"conv:0": Range(0.0, 2.0, 256)}}]
    assert len({made.digest, *(of(state(), **other).digest for other in others)}) == 3


@pytest.mark.parametrize("bad", [
    Range(1.0, -1.0, 256), Range(float("nan"), 1.0, 256), Range(-1.0, 1.0, 1), Range(0.0, 1.0, 257),
    Range(0.0, float("inf"), 256),
])  # fmt: skip
def test_ranges_that_round_nothing_are_refused(bad):
    with pytest.raises(
        WeightsError, match=r"expected low < high and 2 to 256 levels at conv:0, got"
    ):
        of(state(), ranges={"conv:0": bad})


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_round_nothing_are_refused(bad):
    with pytest.raises(WeightsError, match="scales of conv must be finite and above 0"):
        of(state(), scales={"conv": torch.tensor([1.0, bad])})
