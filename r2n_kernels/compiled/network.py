"""Backends "ptx:<arch>" run a whole network from its compiled code, in the emulator on the CPU.

Every launch of a plan for that target has its CTAs spread over processes that share tensors.
This is for correctness without a GPU: seconds per image.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from ..bundle import Bundle
from ..bundle.backend import OnStoredPlans
from ..bundle.ops import Kernel
from ..bundle.source import TargetPlans
from ..config import Res2NetConfig
from ..engine.backend import Normalization
from ..engine.kernel_backend import pack
from ..engine.triton_ops import allocate, bind, op_of, output
from ..engine.triton_options import TritonOptions
from ..errors import ConfigError
from ..fold.triton_layout import PackedConv
from ..kernels.op import Op
from ..kernels.targets import TARGETS
from ..plan import Plan, Step
from ..tracing import outside_graphs
from .build import Cache, default_folder
from .parallel import BundledCodes, Codes, CompiledCodes, ParallelLauncher
from .pool import Pool
from .shared import Shared

logger = logging.getLogger("r2n_kernels.engine")

SHAPES = 2  # input shapes that keep their buffers
INTERVAL = 5.0  # seconds between two lines of progress


class EmulatedBackend:
    """It runs a network with packed weights on the CPU. Calls run one after the other.

    Subclasses add plans, and whose code they run.
    """

    own_kernels = True

    def __init__(
        self, name: str, config: Res2NetConfig, packed: Mapping[str, PackedConv],
        dtype: torch.dtype, device: torch.device, codes: Callable[[Pool], Codes],
        pool: Pool | None = None,
    ) -> None:  # fmt: skip
        self.name, self.config, self.dtype, self.device = name, config, dtype, device
        self._weights, self._packed = _shared_weights(packed)
        self._buffers: OrderedDict[tuple[int, int, int], Shared] = OrderedDict()
        self._lock = threading.Lock()
        if pool is None:
            processes = ExitStack()
            pool = processes.enter_context(Pool(os.cpu_count() or 1))
            weakref.finalize(self, processes.close)
        self.launcher = ParallelLauncher(codes(pool), pool)

    def plan(self, batch: int, height: int, width: int) -> Plan:
        raise NotImplementedError

    def ops(self, plan: Plan) -> Callable[[Step], Op]:
        """Return what gives the op of each step of a plan."""
        raise NotImplementedError

    def taken(self, x: Tensor) -> Tensor:
        """Return an input, copied where the code takes none that lies as this one."""
        return x

    @outside_graphs
    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        """Compile for an input like x. Raises KernelError."""
        with self._lock:
            buffers = {"input": self.taken(x), **self._buffers_of(plan).tensors}
            op = self.ops(plan)
            bound = (bind(s, buffers, self._packed, normalization, op=op(s)) for s in plan.steps)
            self.launcher.codes.compile([call for step in bound for call in step.calls()])

    @outside_graphs
    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Run the plan on x [N, Ci, H, W], any strides, and return copies of the wanted buffers.

        Raises KernelError for an illegal access, or an instruction that is not emulated. Races are
        not looked for: `r2n inspect --run` does that.
        """
        x, op = self.taken(x), self.ops(plan)
        none = x.new_empty(0, dtype=torch.float32)
        scale, shift = normalization or (none, none)
        given = Shared({"input": x, "scale": scale, "shift": shift})
        if normalization is not None:
            normalization = (given.tensors["scale"], given.tensors["shift"])
        steps, start = plan.steps_for(wanted), time.perf_counter()
        with self._lock, torch.no_grad():
            shared = self._buffers_of(plan)
            buffers = {"input": given.tensors["input"], **shared.tensors}
            memories, told = (given, shared, self._weights), start
            for number, step in enumerate(steps, 1):
                bound = bind(step, buffers, self._packed, normalization, op=op(step))
                for call in bound.calls():
                    self.launcher.launch(call, memories)
                if time.perf_counter() - told > INTERVAL:
                    told = time.perf_counter()
                    logger.info(
                        "%s: step %d of %d (%s), %.0f s", self.name, number, len(steps), step.name,
                        told - start,
                    )  # fmt: skip
            logger.info(
                "%s: %d steps in %.1f s", self.name, len(steps), time.perf_counter() - start
            )
            return [output(plan, name, buffers) for name in wanted]

    def _buffers_of(self, plan: Plan) -> Shared:
        key = (plan.batch, plan.height, plan.width)
        if key not in self._buffers:
            self._buffers[key] = Shared(allocate(plan, torch.device("cpu")))
            while len(self._buffers) > SHAPES:
                self._buffers.popitem(last=False)
        self._buffers.move_to_end(key)
        return self._buffers[key]


class PtxBackend(EmulatedBackend):
    """This `Backend` runs what Triton compiles for a target."""

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
        device: torch.device, name: str, options: TritonOptions | None = None,
    ) -> None:  # fmt: skip
        """Pack the weights for a backend "ptx:sm_90". The options' graphs are left out.

        Raises ConfigError for a device other than the CPU, or a dtype.
        """
        check_device(name, device)
        from ..kernels.versions import served  # here: a bundle's code runs without Triton

        target = name.partition(":")[2]
        self.target, self.options = served(TARGETS[target]), options or TritonOptions()
        config, packed = pack(config, state, dtype, self.options.int8)

        def codes(pool: Pool) -> Codes:
            return CompiledCodes(target, pool, Cache(default_folder()))

        super().__init__(name, config, packed, dtype, device, codes)

    @outside_graphs
    def plan(self, batch: int, height: int, width: int) -> Plan:
        return self.options.plan(self.config, batch, height, width, self.dtype, self.target)

    def ops(self, plan: Plan) -> Callable[[Step], Op]:
        return op_of


class BundlePtxBackend(OnStoredPlans, EmulatedBackend):
    """This `Backend` runs the PTX of a bundle, without Triton."""

    def __init__(
        self, bundle: Bundle, packed: Mapping[str, PackedConv], device: torch.device, name: str,
        pool: Pool | None = None,
    ) -> None:  # fmt: skip
        """Raise BundleError for a target that the bundle has no code for, ConfigError as above.

        pool: of processes that run CTAs; by default one of its own, as large as there are cores.
        """
        check_device(name, device)
        self.bundle, self.target = bundle, bundle.named_target(name.partition(":")[2])
        self.stored = TargetPlans(bundle, self.target, Kernel)
        manifest = bundle.manifest
        super().__init__(
            name, manifest.config, packed, manifest.dtype, device,
            lambda pool: BundledCodes(self.target, bundle), pool,
        )  # fmt: skip


def check_device(name: str, device: torch.device) -> None:
    """Raise ConfigError for a device other than the CPU."""
    if device.type != "cpu":
        raise ConfigError(f"backend '{name}' emulates a GPU on the CPU, got device {device}")


def _shared_weights(packed: Mapping[str, PackedConv]) -> tuple[Shared, dict[str, PackedConv]]:
    parts = {
        f"{name} {part}": tensor
        for name, conv in packed.items()
        for part, tensor in vars(conv).items()
        if tensor is not None
    }
    shared = Shared(parts)
    held = shared.tensors
    return shared, {
        name: PackedConv(held[f"{name} weight"], held[f"{name} bias"], held.get(f"{name} shortcut"))
        for name in packed
    }
