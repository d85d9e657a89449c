"""Run a few steps of the headline model for a profiler, or a small forward for a sanitizer.

usage: single.py profile|forward [--dry]        --dry: on the CPU, under TRITON_INTERPRET=1
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

import torch

from ...config import HEADLINE, VARIANTS, Res2NetConfig
from ...create import from_timm
from ...engine import TritonOptions
from ...engine.triton_target import kernel_target
from ...kernels.call import launch
from ...plan import build_plan
from ...proof.steps import REPEATABLE, cases
from ...reference import Res2Net, randomize
from ..material import noise
from ..outputs import OutputCheck

SMALL = Res2NetConfig(layers=(2, 1, 2), planes=(13, 18, 33), num_classes=7)
STEPS = ("layer3.1.conv1", "layer3.1.convs", "layer3.1.conv3", "layer1.1.convs")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("profile", "forward"))
    parser.add_argument("--dry", action="store_true", help="on the CPU, tiny")
    args = parser.parse_args()
    device = torch.device("cpu" if args.dry else "cuda")
    with torch.no_grad():
        return (profile if args.what == "profile" else forward)(device)


def profile(device: torch.device) -> int:
    """Launch each of STEPS once, between the marks that a profiler waits for."""
    gpu = device.type == "cuda"
    config, batch, size = (VARIANTS[HEADLINE], 256, 224) if gpu else (SMALL, 1, 33)
    plan = build_plan(
        config, batch, size, size, torch.float16, "triton", target=kernel_target(device),
        schedule="throughput",
    )  # fmt: skip
    found = list(cases(plan, device, only=lambda step: step.name in STEPS, scale=REPEATABLE))
    calls = [call for case in found for call in case.bound.calls()]
    launch(calls)  # compiled, and warm
    wait = torch.get_device_module(device).synchronize
    wait()
    with torch.cuda.profiler.profile() if gpu else nullcontext():
        launch(calls)
        wait()
    for step in (case.step for case in found):
        moved = step.bytes_read + step.bytes_written
        print(f"{step.name} {step.op}: {step.macs / 1e9:.2f} GMAC, {moved / 1e6:.1f} MB")
    return 0


def forward(device: torch.device) -> int:
    """Check both schedules against the tolerance rule."""
    eager = randomize(Res2Net(SMALL).eval())
    size = 64 if device.type == "cuda" else 33
    x = noise(2, size, size).half()
    check, wrong = OutputCheck(eager, x), 0
    for schedule in ("throughput", "latency"):
        options = TritonOptions(schedule=schedule, graphs=())
        model = from_timm(
            eager, backend="triton", dtype=torch.float16, device=device, triton=options
        )
        verdict = check.judge(schedule, model(x.to(device)))
        wrong += not verdict.passed
        print(f"{schedule}: error {verdict.error:.1e}, limit {verdict.limit:.1e}")
    print("forward: " + ("WRONG" if wrong else "right in both schedules"), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
