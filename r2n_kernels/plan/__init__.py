"""A plan lists the steps of a forward pass over named buffers, from config, shape and dtype.

It is the single source of geometry, multiply-accumulates, bytes and launches: the engine runs it,
benchmarks and rooflines read it, and nobody types a geometry by hand.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ..config import MIN_SIZE, Res2NetConfig
from ..errors import ConfigError
from ..int8 import ActivationScales
from ..kernels.targets import DEFAULT, Target
from ..kernels.tiles import TileTable
from .openvino_schedule import OpenVinoSchedule
from .torch_schedule import TorchSchedule
from .triton_schedule import SCHEDULES, TritonSchedule
from .types import Buffer, ConvGeometry, Launch, Plan, Step

__all__ = [
    "SCHEDULES",
    "Buffer",
    "ConvGeometry",
    "Launch",
    "Plan",
    "Step",
    "build_plan",
    "cached_plan",
]

# backends whose kernels are a library's
LIBRARIES = {schedule.backend: schedule for schedule in (TorchSchedule, OpenVinoSchedule)}


def build_plan(
    config: Res2NetConfig,
    batch: int,
    height: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    backend: str = "torch",
    *,
    target: Target = DEFAULT,
    tiles: TileTable | None = None,
    schedule: str = "auto",
    as_batch: int | None = None,
    int8: ActivationScales | None = None,
) -> Plan:
    """Plan a forward pass of `batch` images of `height` x `width` pixels.

    For the backend "triton": `target` is the GPU, `tiles` a measured table (rules without one), and
    `schedule` is "throughput" (a stage in one launch, a program for an image or more), "latency"
    (one launch per split, one program per tile) or "auto", which decides by the batch. as_batch:
    take the kernels that a batch of this size takes, to try them on fewer images. int8: the blocks
    compute in int8, by these scales, and the rest in `dtype`.

    Raises ConfigError for a size under 32 pixels, a negative batch, an unknown backend or schedule,
    and scales of another network.
    """
    if min(height, width) < MIN_SIZE:
        raise ConfigError(f"images must be at least {MIN_SIZE}x{MIN_SIZE}, got {height}x{width}")
    if batch < 0:
        raise ConfigError(f"batch must be 0 or more, got {batch}")
    if schedule not in SCHEDULES:
        raise ConfigError(f"unknown schedule '{schedule}'; expected one of {', '.join(SCHEDULES)}")
    if int8 is not None and (backend != "triton" or dtype.itemsize != 2):
        raise ConfigError(
            "int8 is for backend 'triton' with dtype float16 or bfloat16 around it, got "
            f"'{backend}' with {dtype}"
        )
    if backend in LIBRARIES:
        return LIBRARIES[backend](config, batch, height, width, dtype).plan()
    if backend != "triton":
        known = ", ".join(f"'{name}'" for name in (*LIBRARIES, "triton"))
        raise ConfigError(f"no plan for backend '{backend}'; expected one of {known}")
    if int8 is not None:
        int8.check(config)
    return TritonSchedule(
        config, batch, height, width, dtype, target, tiles or TileTable(), schedule, as_batch, int8
    ).plan()


cached_plan = lru_cache(maxsize=64)(build_plan)
