from __future__ import annotations

import pytest
import torch

from r2n_kernels.benchmarks.gpu import single
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.tolerance import Verdict

CPU = torch.device("cpu")
interpreter = pytest.mark.skipif(not interpreted(), reason="needs Triton's interpreter")


def test_the_headline_has_the_steps():
    plan = build_plan(VARIANTS[HEADLINE], 256, 224, 224, torch.float16, "triton",
                      target=TARGETS["sm_90"], schedule="throughput")  # fmt: skip
    ops = {step.name: step.op for step in plan.steps if step.name in single.STEPS}
    assert sorted(ops) == sorted(single.STEPS)
    assert set(ops.values()) == {"conv1", "resident_stage", "conv3"}


@interpreter
def test_a_profile(capsys):
    assert single.profile(CPU) == 0
    assert capsys.readouterr().out.count(" GMAC, ") == len(single.STEPS)


@interpreter
def test_a_forward_is_held_to_the_rule(capsys, monkeypatch):
    assert single.forward(CPU) == 0
    assert capsys.readouterr().out.endswith("forward: right in both schedules\n")

    def wrong(self, name, logits):
        return Verdict(name, 1.0, 1e-3, 1e-3, torch.float16)

    monkeypatch.setattr(single.OutputCheck, "judge", wrong)
    monkeypatch.setattr(single, "from_timm", lambda *given, **options: lambda x: x)  # not again
    assert single.forward(CPU) == 1
    assert capsys.readouterr().out.endswith("forward: WRONG\n")
