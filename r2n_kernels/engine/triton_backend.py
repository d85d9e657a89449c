"""The Triton backend runs a plan on our kernels, on a GPU or in Triton's interpreter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..fold.triton_layout import PackedConv
from ..kernels.op import Op
from ..kernels.versions import missing_fence, require_triton
from ..plan import Plan, Step
from ..tracing import outside_graphs
from .kernel_backend import KernelBackend, pack
from .triton_ops import op_of
from .triton_options import TritonOptions
from .triton_target import kernel_target

logger = logging.getLogger("r2n_kernels.engine")
require_triton()  # an ImportError here is how others learn that there is no such backend


class JitBackend(KernelBackend):
    """It runs kernels that Triton compiles when it meets them first, on packed weights."""

    name = "triton"

    def __init__(
        self, config: Res2NetConfig, packed: Mapping[str, PackedConv], dtype: torch.dtype,
        device: torch.device, options: TritonOptions | None = None,
    ) -> None:  # fmt: skip
        """Raise ConfigError where the kernels cannot run."""
        self.options = options or TritonOptions()
        self.target = kernel_target(device)
        if device.type == "cuda" and (missing := missing_fence(self.target)):
            logger.warning("%s; `r2n selftest` checks the results here", missing)
        super().__init__(config, packed, dtype, device, self.options.graphs)

    def ops(self, plan: Plan) -> Callable[[Step], Op]:
        return op_of

    @outside_graphs
    def plan(self, batch: int, height: int, width: int) -> Plan:
        return self.options.plan(self.config, batch, height, width, self.dtype, self.target)


class TritonBackend(JitBackend):
    """This `Backend` folds and packs the weights of a canonical state dict first."""

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
        device: torch.device, options: TritonOptions | None = None,
    ) -> None:  # fmt: skip
        """Raise ConfigError where the kernels cannot run, and WeightsError as `pack` does."""
        config, packed = pack(config, state, dtype, options.int8 if options else None)
        super().__init__(config, packed, dtype, device, options)
