"""The Triton backend runs a plan on our kernels, on a GPU or in Triton's interpreter."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..fold import fold
from ..fold.triton_layout import pack_network
from ..kernels.versions import missing_fence
from ..plan import Plan, cached_plan
from ..tracing import outside_graphs
from .backend import Normalization
from .triton_options import TritonOptions
from .triton_target import current, kernel_target
from .triton_workspace import Workspace

logger = logging.getLogger("r2n_kernels.engine")

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
WORKSPACES = 4  # input shapes that keep their buffers


class TritonBackend:
    """This `Backend` keeps buffers for the shapes that it met last.

    It is safe to call from several threads and streams: calls of one model run one after the other,
    also on the GPU, because they share buffers; calls of several models run side by side.
    """

    name = "triton"
    own_kernels = True

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
        device: torch.device, options: TritonOptions | None = None,
    ) -> None:  # fmt: skip
        """Fold and pack a canonical `state`. Raises ConfigError where the kernels cannot run."""
        self.config, self.dtype, self.device = config, dtype, device
        self.options = options or TritonOptions()
        if dtype not in DTYPES:
            names = ", ".join(map(str, DTYPES))
            raise ConfigError(f"dtype must be one of {names}, got {dtype}")
        self.target = kernel_target(device)
        if device.type == "cuda" and (missing := missing_fence(self.target)):
            logger.warning("%s; `r2n selftest` checks the results here", missing)
        if "fc.weight" not in state:
            self.config = config.replace(num_classes=0)
        packed = pack_network(self.config, fold(config, state, torch.float32), state, dtype)
        self.weights = {k: conv.changed(lambda t: t.to(device)) for k, conv in packed.items()}
        self._workspaces: OrderedDict[tuple[int, int, int], Workspace] = OrderedDict()
        self._lock = threading.RLock()
        self._done: torch.cuda.Event | None = None
        self._stream: torch.cuda.Stream | None = None

    @outside_graphs
    def plan(self, batch: int, height: int, width: int) -> Plan:
        return cached_plan(
            self.config, batch, height, width, self.dtype, self.name,
            target=self.target, tiles=self.options.tiles, schedule=self.options.schedule,
        )  # fmt: skip

    @outside_graphs
    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        with self._lock, current(self.device):
            self._workspace(plan, x, normalization)

    @outside_graphs
    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        with self._lock, current(self.device), torch.no_grad():
            workspace = self._workspace(plan, x, normalization)
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

    def _workspace(self, plan: Plan, x: Tensor, normalization: Normalization | None) -> Workspace:
        key = (plan.batch, plan.height, plan.width)
        workspace = self._workspaces.get(key)
        if self._capturing and (workspace is None or not workspace.knows(x)):
            raise ConfigError(
                f"run the model once on {list(x.shape)} before capturing it in a CUDA graph"
            )
        if workspace is None:
            idle = [k for k, v in self._workspaces.items() if not v.pinned]
            for oldest in idle[: max(0, len(idle) + 1 - WORKSPACES)]:
                del self._workspaces[oldest]
            graphed = self.device.type == "cuda" and plan.batch in self.options.graphs
            logger.debug("buffers and kernels for %s on %s", list(x.shape), self.target.name)
            # its zeros are written on this stream: another one must wait for them too
            with self._turn() if self.device.type == "cuda" else nullcontext():
                workspace = Workspace(plan, self.weights, self.device, graphed=graphed)
        workspace.compile(x, normalization)
        self._workspaces[key] = workspace
        self._workspaces.move_to_end(key)
        return workspace
