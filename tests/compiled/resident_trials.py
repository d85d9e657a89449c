"""Workers of test_resident.py: they compile a resident chain, and run it in the emulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from r2n_kernels.compiled.build import Compiled, compile_instance
from r2n_kernels.compiled.instances import Instance, Request, plan_of, specialise
from r2n_kernels.compiled.launcher import Code
from r2n_kernels.compiled.run import Emulation, Executable
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.emulator import SCHEDULES
from r2n_kernels.kernels.forms import choose_form
from r2n_kernels.kernels.layout import PlanesLayout, pad_channels
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.proof.steps import StepCase, cases

NAN = float("nan")


@dataclass(frozen=True)
class Chain:
    """A Chain is the split chain of a block: `images` maps of H x W, splits of C channels."""

    target: str
    C: int
    H: int
    W: int
    images: int = 2
    scale: int = 4
    dtype: torch.dtype = torch.float16
    orders: tuple[str, ...] = SCHEDULES  # of warps
    batch: int = 0  # whose form it takes; 0: of its images

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        of = f"of{self.batch}" if self.batch else ""
        return f"{self.target}-{self.images}{of}x{self.H}x{self.W}x{self.C}-{self.scale}s-{dtype}"

    @property
    def request(self) -> Request:
        """Return a network whose last block has the chain."""
        layers = (2,) if min(self.H, self.W) >= 8 else (1, 1, 1, 2)  # images have 32 pixels or more
        config = Res2NetConfig(
            layers, planes=(64,) * len(layers), base_width=self.C, scale=self.scale
        )
        size = [4 * side << len(layers) - 1 for side in (self.H, self.W)]
        batch = self.batch or self.images
        return Request(config, batch, *size, self.dtype, self.target, "throughput")


def case_of(chain: Chain) -> StepCase:
    """Return the chain's step on noise, with NaN in what it writes."""
    plan = plan_of(chain.request, chain.images)
    (case,) = cases(plan, only=lambda step: step.op == "resident_stage")
    case.buffers[case.step.writes[0]][:, : -case.step.options["layout"].C] = (
        NAN  # not the last group
    )
    return case


@lru_cache(maxsize=2)
def built(chain: Chain) -> tuple[Instance, Compiled]:
    (call,) = case_of(chain).bound.calls()
    instance = specialise(call, chain.target)
    return instance, compile_instance(instance)


def emulation(chain: Chain, order: str = "lockstep", seed: int = 0) -> Emulation:
    instance, compiled = built(chain)
    executable = Executable(instance, Code.of(instance, compiled), str(chain))
    return Emulation(executable, order, seed)


def right(chain: Chain) -> Mapping[str, Any]:
    """Run it in its orders: what is wrong, and what it counts."""
    case, (instance, compiled) = case_of(chain), built(chain)
    found: dict[str, Any] = {"kernel": instance.kernel, "spill": compiled.facts.spill}
    faults: list[str] = []
    for order in chain.orders:
        run = emulation(chain, order, seed=1)
        verdict = case.verdict(run)
        faults += [] if verdict.passed else [f"{order}: {verdict}"]
        for counters in run.counters:
            faults += map(str, counters.reports)
    (counters,) = run.counters
    found["macs"] = counters.macs - case.step.executed_macs
    found["l2"] = case.step.bytes_l2 / counters.global_bytes
    return found | {"faults": faults}


def leaves_alone(chain: Chain) -> Mapping[str, Any]:
    """Run it with NaN in one image: what that changes in others, and what is left unwritten."""
    clean, poisoned = case_of(chain), case_of(chain)
    layout, ((read,), (written,)) = (
        clean.step.options["layout"],
        (clean.step.reads, clean.step.writes),
    )
    for row in range(chain.H):  # of image 1
        start = layout.row(1, row, 0)
        poisoned.buffers[read][:, start : start + chain.W] = NAN
    planes = clean.buffers[read].clone()
    one, other = (case.run(emulation(chain)) for case in (clean, poisoned))
    pixels, columns = chain.H * chain.W, (chain.scale - 1) * chain.C
    ys = [run[written].view(chain.images, pixels, -1) for run in (one, other)]
    same = [torch.equal(ys[0][n, :, :columns], ys[1][n, :, :columns]) for n in range(chain.images)]
    return {
        "same": same,
        "poisoned": ys[1][1, :, :columns].isnan().all().item(),
        "unwritten": ys[0][..., :columns].isnan().sum().item(),
        "last group": ys[0][..., columns:].count_nonzero().item(),
        "planes": torch.equal(planes, one[read]),
    }


def run_each(work: tuple[str, Chain]) -> Mapping[str, Any]:
    """Run one of the functions above, by name."""
    name, chain = work
    return {"right": right, "leaves_alone": leaves_alone}[name](chain)


def chains_of(config: Res2NetConfig, target: str) -> Iterator[Chain]:
    """Yield the chains of a variant at 224 pixels that are resident, in both dtypes by turns."""
    for i, block in enumerate(b for b in config.blocks() if b.name.endswith(".1")):
        side, dtype = 56 >> i, (torch.float16, torch.bfloat16)[i % 2]
        layout = PlanesLayout(256, side, side, pad_channels(block.width), 16)
        if choose_form(layout, 2, TARGETS[target])[0] is not None:
            yield Chain(target, block.width, side, side, 2, config.scale, dtype, SCHEDULES[:1], 256)
