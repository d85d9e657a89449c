"""The self-test runs these networks, each at its size, on seeded random weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..config import HEADLINE, VARIANTS, Res2NetConfig
from ..engine import TritonOptions
from ..engine.triton_backend import TritonBackend
from ..engine.triton_target import kernel_target
from ..errors import ConfigError
from ..kernels.device import interpreted
from ..kernels.op import all_ops
from ..kernels.targets import Target, target_of, without_gluon
from ..plan import Plan, build_plan
from ..reference import Res2Net, randomize
from .steps import StepCase, cases

PARITY_BATCH = 2  # the reference runs on the CPU, where half precision is slow
HALF = (torch.float16, torch.bfloat16)
ALL = (*HALF, torch.float32)


@dataclass(frozen=True)
class ForwardPass:
    """A ForwardPass is a network, a batch and a schedule: steps are compared with their twins.

    tiled: whether no chain may keep images in shared memory. size: height and width, where they are
    not the setup's.
    """

    config: Res2NetConfig
    batch: int
    schedule: str
    tiled: bool = False
    size: tuple[int, int] | None = None

    def on(self, target: Target) -> Target:
        """Return the target as it plans for it."""
        return without_gluon(target, "the self-test asks for it") if self.tiled else target


@dataclass(frozen=True, eq=False)
class Setup:
    """A Setup is a self-test's size. Networks have seeded random weights: nothing is downloaded."""

    device: torch.device
    title: str
    config: Res2NetConfig
    size: int  # pixels
    batch: int
    forwards: tuple[ForwardPass, ...]  # all kernels occur in them
    dtypes: tuple[torch.dtype, ...]
    repeats: int  # forwards that must be bit-identical

    def images(self, batch: int, dtype: torch.dtype, size: tuple[int, int] | None = None) -> Tensor:
        """Return [batch, Ci, height, width] of seeded noise, by default of the setup's size."""
        shape = (batch, self.config.in_chans, *(size or (self.size, self.size)))
        generator = torch.Generator().manual_seed(0)
        return torch.randn(shape, generator=generator).to(self.device, dtype)

    def cases(self, op: str, dtype: torch.dtype) -> Iterator[StepCase]:
        """Yield each step of an op, on what the twins of the earlier steps made of images."""
        for forward in self.forwards:
            images = self.images(forward.batch, dtype, forward.size)
            plan = self._plan(forward, dtype)
            yield from cases(plan, self.device, only=lambda step: step.op == op, images=images)

    def distinct_cases(self, op: str, dtype: torch.dtype) -> Iterator[StepCase]:
        """Yield a step of each geometry of an op, on noise."""
        for forward in self.forwards:
            plan = self._plan(forward, dtype)
            firsts = [step for step, _ in plan.distinct_steps()]
            found = cases(plan, self.device, only=lambda step: step.op == op)
            yield from (case for case in found if case.step in firsts)

    def ops(self, dtype: torch.dtype) -> list[str]:
        """Return every op that runs here: those of the networks as they run, then others."""
        plans = [self._plan(forward, dtype) for forward in self.forwards]
        half, gluon = dtype.itemsize == 2, not kernel_target(self.device).no_gluon
        others = [
            name
            for name, op in all_ops().items()
            if (half or not op.half) and (gluon or not op.gluon)
        ]
        return list(dict.fromkeys([*(step.op for p in plans for step in p.steps), *others]))

    def _plan(self, forward: ForwardPass, dtype: torch.dtype) -> Plan:
        height, width = forward.size or (self.size, self.size)
        return build_plan(
            forward.config, forward.batch, height, width, dtype, "triton",
            target=forward.on(kernel_target(self.device)), schedule=forward.schedule,
        )  # fmt: skip

    def eager(self) -> Res2Net:
        """Return a copy of the reference, in float32 on the CPU."""
        return copy.deepcopy(self._eager)

    @cached_property
    def _eager(self) -> Res2Net:
        return randomize(Res2Net(self.config).eval())

    def backend(
        self, dtype: torch.dtype, schedule: str = "auto", graphs: tuple[int, ...] = ()
    ) -> TritonBackend:
        """Fold and pack the network for the kernels."""
        options = TritonOptions(schedule=schedule, graphs=graphs)
        return TritonBackend(self.config, self._eager.state_dict(), dtype, self.device, options)


SMALL = Res2NetConfig(
    (2, 1, 1, 2), planes=(16, 24, 32, 48), base_width=38, num_classes=10
)  # widths 9, 14, 19, 28: none a multiple of 8
# the stem's map is pooled where it is made only where tiles cover it well
POOLED = ForwardPass(Res2NetConfig((1,), planes=(16,)), 1, "throughput", size=(62, 121))
DEEP = {"deep_stem": True, "stem_width": 12, "avg_down": True}  # the kernels of the d variants


def default_setup(device: torch.device | None, *, quick: bool = False) -> Setup:
    """Choose the size for a GPU (None: the first one), or for the interpreter, where that is on.

    quick: float16 and few repeats. Raises ConfigError where no kernel can run.
    """
    if interpreted():
        if device is not None and device.type != "cpu":
            raise ConfigError(f"TRITON_INTERPRET=1 runs kernels on the CPU, got device {device}")
        small = ForwardPass(SMALL, 2, "throughput")
        deep = ForwardPass(SMALL.replace(**DEEP), 1, "latency")
        cpu, dtypes = torch.device("cpu"), HALF[:1] if quick else ALL
        repeats = 2 if quick else 3
        forwards = small, deep, POOLED
        return Setup(cpu, "a small network", SMALL, 33, 2, forwards, dtypes, repeats)
    if not torch.cuda.is_available() or (device is not None and device.type != "cuda"):
        where = "torch finds no GPU here" if device is None else f"the device is {device}"
        raise ConfigError(
            f"the self-test needs a GPU, and {where}; "
            "`TRITON_INTERPRET=1 r2n selftest` runs it small, in Triton's interpreter"
        )
    device = device or torch.device("cuda", 0)
    if target_of(device) is None:
        raise ConfigError(
            f"the kernels need compute capability 8.0 or gfx9, this is "
            f"{torch.cuda.get_device_name(device)}"
        )
    return full_setup(device, quick=quick)


def full_setup(device: torch.device, *, quick: bool = False) -> Setup:
    """Return the size for a GPU, whether there is one or not."""
    config, deep = VARIANTS[HEADLINE], VARIANTS["res2net50d"].replace(layers=(1, 2, 1, 1))
    forwards = (
        ForwardPass(config, 8, "throughput"), ForwardPass(config, 1, "latency"),
        ForwardPass(deep, 2, "auto"), ForwardPass(deep, 2, "throughput", tiled=True),
    )  # fmt: skip
    dtypes = HALF[:1] if quick else ALL
    return Setup(device, HEADLINE, config, 224, 8, forwards, dtypes, 20 if quick else 200)
