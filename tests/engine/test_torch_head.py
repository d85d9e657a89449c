"""The head behind any trunk gives the bits of the modules."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.torch_head import Pass, TorchHead
from r2n_kernels.plan import build_plan
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 1), planes=(9, 14), num_classes=5)
LAST, FIRST = "layer2.0.out", "stem"


@pytest.mark.parametrize(("wanted", "maps", "head"), [
    (["logits"], (LAST,), ["global_pool", "fc"]),
    (["embedding", LAST], (LAST,), ["global_pool"]),
    ([FIRST, "logits", FIRST], (FIRST, LAST), ["global_pool", "fc"]),
    ([LAST, FIRST], (LAST, FIRST), []),
])  # fmt: skip
def test_a_pass_is_cut_at_its_head(wanted, maps, head):
    plan = build_plan(SMALL, 2, 40, 40)
    what = Pass.of(plan.steps_for(wanted), wanted)
    assert what.maps == maps
    assert [step.name for step in what.head] == head
    assert (*what.trunk, *what.head) == plan.steps_for(wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_bits_are_the_modules(dtype, randomize):
    network = randomize(Res2Net(SMALL)).eval()
    what = Pass.of(build_plan(SMALL, 2, 40, 40).steps_for(["logits"]), ["logits"])
    x = torch.randn(2, 56, 5, 5).to(dtype, memory_format=torch.channels_last)
    live = TorchHead(SMALL, network.state_dict(), torch.device("cpu")).run(what.head, {LAST: x})
    with torch.no_grad():
        embedding = network.global_pool(x)
        assert torch.equal(live["embedding"], embedding)
        assert torch.equal(live["logits"], network.fc(embedding.float()).to(dtype))


def test_a_write_to_the_classifier_is_seen():
    network = Res2Net(SMALL).eval()
    head = TorchHead(SMALL, network.state_dict(), torch.device("cpu"))
    with torch.no_grad():
        network.fc.bias += 1
    assert torch.equal(head.classifier[1], network.fc.bias)
