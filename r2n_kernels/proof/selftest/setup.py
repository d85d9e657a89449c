"""What is tested at which size, and the networks that the checks share."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...config import HEADLINE, VARIANTS, Res2NetConfig
from ...engine import TritonOptions
from ...engine.triton_backend import TritonBackend
from ...errors import ConfigError
from ...kernels.device import interpreted
from ...kernels.targets import target_of
from ...plan import Plan
from ...reference import Res2Net, randomize

HALF = (torch.float16, torch.bfloat16)
ALL = (*HALF, torch.float32)


@dataclass(frozen=True)
class Case:
    """A network, batch and schedule whose steps are compared with their twins."""

    config: Res2NetConfig
    batch: int
    schedule: str


@dataclass(frozen=True, eq=False)
class Setup:
    """The size of a self-test. Networks have seeded random weights: nothing is downloaded."""

    device: torch.device
    title: str
    config: Res2NetConfig
    size: int  # pixels
    batch: int
    cases: tuple[Case, ...]  # all kernels occur in them
    dtypes: tuple[torch.dtype, ...]
    repeats: int  # forwards that must be bit-identical
    _eager: dict[Res2NetConfig, Res2Net] = field(default_factory=dict, init=False, repr=False)
    _backends: dict[tuple, TritonBackend] = field(default_factory=dict, init=False, repr=False)

    def images(self, batch: int, dtype: torch.dtype) -> Tensor:
        """[batch, Ci, size, size] of seeded noise."""
        shape = (batch, self.config.in_chans, self.size, self.size)
        generator = torch.Generator().manual_seed(0)
        return torch.randn(shape, generator=generator).to(self.device, dtype)

    def plan(self, backend: TritonBackend, batch: int) -> Plan:
        return backend.plan(batch, self.size, self.size)

    def eager(self, config: Res2NetConfig) -> Res2Net:
        """A copy of the reference, in float32 on the CPU."""
        if config not in self._eager:
            self._eager[config] = randomize(Res2Net(config).eval(), 0)
        return copy.deepcopy(self._eager[config])

    def backend(
        self, config: Res2NetConfig, dtype: torch.dtype, schedule: str = "auto",
        graphs: tuple[int, ...] = (),
    ) -> TritonBackend:  # fmt: skip
        """Folded and packed once, then shared by the checks."""
        key = (config, dtype, schedule, graphs)
        if key not in self._backends:
            options = TritonOptions(schedule=schedule, graphs=graphs)
            state = self.eager(config).state_dict()
            self._backends[key] = TritonBackend(config, state, dtype, self.device, options)
        return self._backends[key]


SMALL = Res2NetConfig(
    (2, 1, 1, 2), planes=(16, 24, 32, 48), base_width=38, num_classes=10
)  # widths 9, 14, 19, 28: none a multiple of 8
DEEP = {"deep_stem": True, "stem_width": 12, "avg_down": True}  # the kernels of the d variants


def default_setup(device: torch.device | None, *, quick: bool = False) -> Setup:
    """For a GPU (None: the first one), or small enough for the interpreter, where that is on.

    quick: float16 and few repeats. Raises ConfigError where no kernel can run.
    """
    dtypes = HALF[:1] if quick else ALL
    if interpreted():
        if device is not None and device.type != "cpu":
            raise ConfigError(f"TRITON_INTERPRET=1 runs kernels on the CPU, got device {device}")
        cases = (Case(SMALL, 2, "throughput"), Case(SMALL.replace(**DEEP), 1, "latency"))
        cpu = torch.device("cpu")
        return Setup(cpu, "a small network", SMALL, 33, 2, cases, dtypes, 2 if quick else 3)
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
    """For a GPU, whether there is one or not."""
    config, deep = VARIANTS[HEADLINE], VARIANTS["res2net50d"].replace(layers=(1, 2, 1, 1))
    cases = (Case(config, 8, "throughput"), Case(config, 1, "latency"), Case(deep, 2, "auto"))
    dtypes = HALF[:1] if quick else ALL
    return Setup(device, HEADLINE, config, 224, 8, cases, dtypes, 20 if quick else 200)
