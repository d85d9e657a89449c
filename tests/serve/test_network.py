from __future__ import annotations

from contextlib import closing

import pytest
import torch

from r2n_kernels.decode.limits import Limits
from r2n_kernels.serve.network import Network
from r2n_kernels.serve.payload import Payload


class Bundled:
    """Stands for a model that takes few sizes, and writes down which it was given."""

    num_classes, num_features = 10, 188

    def __init__(self, model, device: str = "cpu") -> None:
        self.model, self.sizes = model, []
        self.pretrained_cfg, self.dtype = model.pretrained_cfg, model.dtype
        self.device = torch.device(device)

    def outputs(self, x, maps, heads):
        self.sizes.append(len(x))
        return self.model.outputs(x, maps, heads)


@pytest.mark.parametrize(
    ("images", "ran"),
    [(1, [1]), (2, [4]), (4, [4]), (5, [8]), (9, [8, 1]), (14, [8, 4, 1, 1])],
)
def test_sizes(digits, images, ran):
    """Few images fill up the next size; more than the largest are cut."""
    model = Bundled(digits.model)
    network = Network(model, None, 8, Limits())
    network.sizes = (1, 4, 8)
    with closing(network):
        pixels = [network.pixels(content) for content in digits.contents[:images]]
    found = network.answers(pixels, [Payload(b"", "topk", 10)] * images)
    assert model.sizes == ran
    assert len(found) == images
    for answer, expected in zip(found, digits.expected, strict=False):
        assert expected.holds({"topk": answer})


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (8, (1, 4, 8)), (32, (1, 4, 16, 32))]
)
def test_sizes_on_a_gpu(digits, most, sizes):
    assert Network(Bundled(digits.model, "cuda"), None, most, Limits()).sizes == sizes


def test_any_size_on_a_cpu(digits):
    network = Network(digits.model, digits.labels, 8, Limits())
    network.warm()
    assert network.sizes == ()
    facts = network.facts()
    assert facts["batches"] == "any"
    assert (facts["classes"], facts["features"], facts["input"]) == (10, 188, [32, 32])
    assert (facts["dtype"], facts["device"], facts["backend"]) == ("float32", "cpu", "openvino")


def test_mixed_wishes_are_one_pass(digits):
    model = Bundled(digits.model)
    network = Network(model, digits.labels, 8, Limits())
    with closing(network):
        pixels = [network.pixels(content) for content in digits.contents[:2]]
    wishes = [Payload(b"", "embedding", 0), Payload(b"", "topk", 1)]
    embedding, top = network.answers(pixels, wishes)
    assert model.sizes == [2]
    assert digits.expected[0].holds({"embedding": embedding})
    assert digits.expected[1].holds({"topk": top})


def test_pixels_are_those_of_the_transform(digits):
    with closing(Network(digits.model, None, 1, Limits())) as network:
        pixels = network.pixels(digits.contents[0])
    assert pixels.shape == (32, 32, 1)
    logits = digits.model(torch.from_numpy(pixels)[None])[0]
    torch.testing.assert_close(logits, digits.expected[0].logits, rtol=1e-5, atol=1e-4)
