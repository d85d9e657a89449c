"""Users tell the Triton backend its schedule, its CUDA graphs and measured tiles."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..int8 import ActivationScales
from ..kernels.targets import Target, without_gluon
from ..kernels.tiles import TileTable
from ..plan import SCHEDULES, Plan, cached_plan

# batch sizes that get a CUDA graph: latency, and full batches; others run eagerly
GRAPH_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class TritonOptions:
    """Choose how the backend "triton" runs.

    schedule: "auto", "throughput" or "latency" (see `r2n_kernels.plan.build_plan`).
    graphs: batch sizes whose forward is captured in a CUDA graph on the second call of a shape;
        empty for none.
    tiles: measured tiles, from `load_tiles`, for this device; rules without them. A split chain
        that stays in shared memory has no tile.
    resident: whether a large batch's split chains may keep images in shared memory, where a plan
        finds that they fit; without, they run in tiles.
    int8: scales of activations, from `quantize.activation_scales`, by which all blocks compute in
        int8: an experiment. The stem, the head and all outputs stay in the model's dtype, which
        must be of 16 bits. NaN and infinity in an image do not show in its outputs.
    """

    schedule: str = "auto"
    graphs: tuple[int, ...] = GRAPH_BATCHES
    tiles: TileTable = field(default_factory=TileTable)
    resident: bool = True
    int8: ActivationScales | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            names = ", ".join(SCHEDULES)
            raise ConfigError(f"unknown schedule '{self.schedule}'; expected one of {names}")
        if not all(type(batch) is int and batch > 0 for batch in self.graphs):
            raise ConfigError(f"graphs must be batch sizes of at least 1, got {self.graphs!r}")
        if not isinstance(self.int8, (ActivationScales, type(None))):
            raise ConfigError(f"int8 must be ActivationScales, got {type(self.int8).__name__}")

    def plan(
        self, config: Res2NetConfig, batch: int, height: int, width: int, dtype: torch.dtype,
        target: Target,
    ) -> Plan:  # fmt: skip
        """Plan a forward pass by these options. Raises ConfigError as `build_plan` does."""
        if not self.resident:
            target = without_gluon(target, "TritonOptions(resident=False) asks for it")
        return cached_plan(
            config, batch, height, width, dtype, "triton",
            target=target, tiles=self.tiles, schedule=self.schedule, int8=self.int8,
        )  # fmt: skip
