"""Kernels of our own run a plan on a device: on buffers that they keep, in streams, in graphs."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..fold import fold
from ..fold.int8_layout import pack_int8
from ..fold.quantization import hash_trunk
from ..fold.triton_layout import PackedConv, pack_network
from ..int8 import ActivationScales
from ..kernels.op import Op
from ..plan import Plan, Step
from ..tracing import outside_graphs
from .backend import Normalization
from .triton_target import current
from .workspace import Workspace

logger = logging.getLogger("r2n_kernels.engine")

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
WORKSPACES = 4  # input shapes that keep their buffers


def pack(
    config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
    int8: ActivationScales | None = None,
) -> tuple[Res2NetConfig, dict[str, PackedConv]]:  # fmt: skip
    """Fold and pack a canonical state dict; the config loses a head that the weights lack.

    int8: pack the blocks' weights for these scales. Raises ConfigError for a dtype that the kernels
    do not run in, or scales of another network or of other weights; WeightsError where a folded
    weight is not finite.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype}")
    if "fc.weight" not in state:
        config = config.replace(num_classes=0)
    folded = fold(config, state, torch.float32)
    if int8 is None:
        return config, pack_network(config, folded, state, dtype)
    if dtype.itemsize != 2:
        raise ConfigError(f"int8 blocks need dtype float16 or bfloat16 around them, got {dtype}")
    packed = pack_int8(config, folded, state, dtype, int8)
    int8.check_trunk(hash_trunk(state))
    return config, packed


class KernelBackend:
    """It is most of a `Backend` that launches kernels; subclasses add plans and the code they run.

    It is safe to call from several threads and streams: calls of one model run one after the other,
    also on the GPU, because they share buffers; calls of several models run side by side. It keeps
    buffers for the shapes that it met last.
    """

    name: str
    own_kernels = True

    def __init__(
        self, config: Res2NetConfig, packed: Mapping[str, PackedConv], dtype: torch.dtype,
        device: torch.device, graphs: Sequence[int],
    ) -> None:  # fmt: skip
        """Move packed weights to the device. graphs: batch sizes that get a CUDA graph."""
        self.config, self.dtype, self.device, self._graphs = config, dtype, device, graphs
        self.weights = {k: conv.changed(lambda t: t.to(device)) for k, conv in packed.items()}
        self._workspaces: OrderedDict[tuple[int, int, int], Workspace] = OrderedDict()
        self._lock = threading.RLock()
        self._done: torch.cuda.Event | None = None
        self._stream: torch.cuda.Stream | None = None

    def ops(self, plan: Plan) -> Callable[[Step], Op]:
        """Return what gives the op of each step of a plan."""
        raise NotImplementedError

    def taken(self, x: Tensor) -> Tensor:
        """Return an input, copied where the code takes none that lies as this one."""
        return x

    def current(self) -> AbstractContextManager[None]:
        """Make the device current: kernels are launched there."""
        return current(self.device)

    @outside_graphs
    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        with self._lock, self.current():
            self._workspace(plan, self.taken(x), normalization, ())

    @outside_graphs
    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        x = self.taken(x)
        with self._lock, self.current(), torch.no_grad():
            workspace = self._workspace(plan, x, normalization, wanted)
            if self.device.type == "cpu":
                return workspace.run(x, normalization, wanted)
            if self._capturing:  # the user's graph uses these buffers for as long as it lives
                workspace.pinned = True
                workspace.record_stream(torch.cuda.current_stream(self.device))
                return workspace.run(x, normalization, wanted)
            with self._turn() as stream:
                workspace.record_stream(stream)
                return workspace.run(x, normalization, wanted)

    @contextmanager
    def _turn(self) -> Iterator[torch.cuda.Stream]:
        """Yield the current stream, after what other streams still do with the buffers."""
        stream = torch.cuda.current_stream(self.device)
        if self._done is not None and stream != self._stream:
            stream.wait_event(self._done)
        try:
            yield stream
        finally:
            self._done, self._stream = stream.record_event(), stream

    @property
    def _capturing(self) -> bool:
        return self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()

    def _workspace(
        self, plan: Plan, x: Tensor, normalization: Normalization | None, wanted: Sequence[str]
    ) -> Workspace:
        key = (plan.batch, plan.height, plan.width)
        workspace = self._workspaces.get(key)
        if self._capturing and (workspace is None or not workspace.knows(x, wanted)):
            raise ConfigError(
                f"run the model once on {list(x.shape)} before capturing it in a CUDA graph"
            )
        if workspace is None:
            idle = [k for k, v in self._workspaces.items() if not v.pinned]
            for oldest in idle[: max(0, len(idle) + 1 - WORKSPACES)]:
                del self._workspaces[oldest]
            graphed = self.device.type == "cuda" and plan.batch in self._graphs
            logger.debug("buffers and kernels for %s on %s", list(x.shape), self.device)
            # its zeros are written on this stream: another one must wait for them too
            with self._turn() if self.device.type == "cuda" else nullcontext():
                workspace = Workspace(
                    plan, self.ops(plan), self.weights, self.device, graphed=graphed
                )
        workspace.compile(x, normalization, wanted)
        self._workspaces[key] = workspace
        self._workspaces.move_to_end(key)
        return workspace
