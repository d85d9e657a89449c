"""A bundle's backend has the Triton backend's own buffers, streams and graphs, on stored code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..engine.kernel_backend import KernelBackend
from ..engine.triton_options import GRAPH_BATCHES
from ..engine.triton_target import current
from ..errors import NoCodeError
from ..fold.triton_layout import PackedConv
from ..kernels.op import Op
from ..kernels.targets import target_of
from ..plan import Plan, Step
from ..tracing import outside_graphs
from .driver import CudaKernel, cuda_driver, ready
from .ops import fitted
from .source import Bundle, TargetPlans


class OnStoredPlans:
    """A backend with this runs a bundle's plans, on inputs in forms that these have code for."""

    stored: TargetPlans

    @outside_graphs
    def plan(self, batch: int, height: int, width: int) -> Plan:
        return self.stored.plan(batch, height, width)

    def ops(self, plan: Plan) -> Callable[[Step], Op]:
        return self.stored.ops(plan)

    def taken(self, x: Tensor) -> Tensor:
        return fitted(x)


class BundleBackend(OnStoredPlans, KernelBackend):
    """This `Backend` launches a bundle's code for one target, on packed weights.

    Raises BundleError from `plan` for a shape that the bundle has no code for.
    """

    name = "bundle"

    def __init__(
        self, bundle: Bundle, packed: Mapping[str, PackedConv], device: torch.device, target: str,
        graphs: Sequence[int] = GRAPH_BATCHES,
    ) -> None:  # fmt: skip
        """Raise BundleError where nothing can be launched."""
        cuda_driver()
        self.bundle, self.target = bundle, target
        self.stored = TargetPlans(bundle, target, lambda code: CudaKernel(code, bundle, device))
        super().__init__(bundle.manifest.config, packed, bundle.manifest.dtype, device, graphs)

    @contextmanager
    def current(self) -> Iterator[None]:
        with current(self.device):
            ready(self.device)
            yield


def device_target(bundle: Bundle, device: torch.device) -> str:
    """Return the bundle's target for a device. Raises BundleError, naming what the bundle has."""
    if device.type != "cuda" or torch.version.hip:
        raise NoCodeError(
            f"{bundle} has code for NVIDIA GPUs, {bundle.offer()}; got device {device} (on the CPU "
            f"backend='ptx:{bundle.manifest.targets[0]}' runs it in an emulator)"
        )
    target = target_of(device)
    if target is None:
        chip = torch.cuda.get_device_name(device)
        raise NoCodeError(f"{bundle} has no code for {chip}; it has {bundle.offer()}")
    return bundle.target_for(target.capability, target.shared_bytes)
