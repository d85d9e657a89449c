"""The backend "ptx:<arch>": a whole network from its compiled code, in the emulator on the CPU.

Every launch of the Triton backend's plan for that target, its CTAs spread over processes, on
tensors that they share. For correctness without a GPU: seconds per image.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..engine.backend import Normalization
from ..engine.triton_backend import DTYPES
from ..engine.triton_ops import allocate, bind, output
from ..errors import ConfigError, KernelError
from ..fold import fold
from ..fold.triton_layout import PackedConv, pack_network
from ..kernels.call import Call
from ..kernels.targets import TARGETS
from ..plan import Plan, cached_plan
from ..tracing import outside_graphs
from .build import Cache, compile_all, default_folder
from .instances import Instance, specialise
from .launcher import Code, checked_target, translate
from .pool import Pool
from .shared import Place, Shared, bytes_at

logger = logging.getLogger("r2n_kernels.engine")

SHAPES = 2  # input shapes that keep their buffers
INTERVAL = 5.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Part:
    """Some CTAs of a launch. args: numbers, and where the tensors are."""

    code: Code
    grid: int
    args: tuple[Any, ...]
    ctas: range


def run_part(part: Part) -> None:
    """Run in this worker. Raises EmulationError."""
    args = [bytes_at(a) if isinstance(a, Place) else a for a in part.args]
    translate(part.code).run((part.grid,), args, track=False, ctas=part.ctas)


class ParallelLauncher:
    """Compiles launches for one target, and runs each on all processes of a pool."""

    def __init__(self, target: str, pool: Pool, cache: Cache | None) -> None:
        """Raise ConfigError for a target that `checked_target` refuses."""
        self.target, self.pool, self.cache = checked_target(target), pool, cache
        self._codes: dict[Instance, Code] = {}

    def compile(self, calls: Iterable[Call]) -> None:
        """Compile what is not compiled yet. Raises KernelError naming the instance."""
        wanted = {specialise(call, self.target) for call in calls} - self._codes.keys()
        for instance, answer, _ in compile_all(wanted, self.pool, self.cache):
            self._codes[instance] = Code.of(instance, _checked(instance, answer))

    def launch(self, call: Call, memories: Sequence[Shared]) -> None:
        """Run a launch, whose tensors lie in `memories`. Raises KernelError with what was found."""
        instance = specialise(call, self.target)
        if instance not in self._codes:
            self.compile([call])
        code = self._codes[instance]
        args = tuple(_placed(argument, memories) for argument in code.arguments(call))
        jobs = min(self.pool.jobs, call.grid)
        cuts = [call.grid * i // jobs for i in range(jobs + 1)]
        parts = [Part(code, call.grid, args, range(*cut)) for cut in pairwise(cuts)]
        for _, answer in self.pool.map(run_part, parts):
            _checked(instance, answer)


def _checked(instance: Instance, answer: Any) -> Any:
    if isinstance(answer, KernelError):
        raise KernelError(f"{instance.target} {instance.name}: {answer}")
    return answer


def _placed(argument: Any, memories: Sequence[Shared]) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    places = (memory.place(argument) for memory in memories)
    return next(place for place in places if place is not None)


class PtxBackend:
    """A network with folded weights in one dtype, on the CPU. Calls run one after the other."""

    own_kernels = True

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
        device: torch.device, name: str,
    ) -> None:  # fmt: skip
        """Pack the weights for a backend "ptx:sm_90".

        Raises ConfigError for a device other than the CPU, or a dtype.
        """
        if device.type != "cpu":
            raise ConfigError(f"backend '{name}' emulates a GPU on the CPU, got device {device}")
        if dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype}")
        target = checked_target(name.partition(":")[2])
        self.config, self.dtype, self.device = config, dtype, device
        self.name, self.target = name, TARGETS[target]
        if "fc.weight" not in state:
            self.config = config.replace(num_classes=0)
        self._weights, self._packed = _shared_weights(
            pack_network(self.config, fold(config, state, torch.float32), state, dtype)
        )
        self._buffers: OrderedDict[tuple[int, int, int], Shared] = OrderedDict()
        self._lock = threading.Lock()
        processes = ExitStack()
        pool = processes.enter_context(Pool(os.cpu_count() or 1))
        weakref.finalize(self, processes.close)
        self.launcher = ParallelLauncher(target, pool, Cache(default_folder()))

    @outside_graphs
    def plan(self, batch: int, height: int, width: int) -> Plan:
        return cached_plan(
            self.config, batch, height, width, self.dtype, "triton", target=self.target
        )

    @outside_graphs
    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        """Compile for an input like x. Raises KernelError."""
        with self._lock:
            buffers = {"input": x, **self._buffers_of(plan).tensors}
            bound = (bind(step, buffers, self._packed, normalization) for step in plan.steps)
            self.launcher.compile([call for step in bound for call in step.calls()])

    @outside_graphs
    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Run the plan on x [N, Ci, H, W], any strides, and return copies of the wanted buffers.

        Raises KernelError for an illegal access, or an instruction that is not emulated. Races are
        not looked for: `r2n inspect --run` does that.
        """
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
                for call in bind(step, buffers, self._packed, normalization).calls():
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
