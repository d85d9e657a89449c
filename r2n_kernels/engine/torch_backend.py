"""The torch backend runs a plan on library convolutions, oneDNN's on the CPU, cuDNN's on CUDA."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..config import MIN_SIZE, Res2NetConfig
from ..errors import ConfigError
from ..fold import fold
from ..fold.torch_layout import CHANNELS_LAST, OneDnnConv, PlainConv, onednn_has
from ..inputs import normalize
from ..plan import Plan, cached_plan
from ..tracing import at_trace_time, tracing, unrecorded
from .backend import Normalization
from .cpu_streams import CpuStreams
from .packed_shapes import PackedShapes
from .precision import exact
from .torch_head import Pass, TorchHead
from .torch_network import TorchNetwork

logger = logging.getLogger("r2n_kernels.engine")


class TorchBackend:
    """This `Backend` packs weights for the shapes that it meets again."""

    name = "torch"
    own_kernels = False

    def __init__(
        self,
        config: Res2NetConfig,
        state: Mapping[str, Tensor],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Fold `state`, which is canonical; the classifier's tensors are kept as they are.

        Raises ConfigError for a dtype that the device cannot run.
        """
        self.config, self.device, self.dtype = config, device, dtype
        self.compute_dtype = _compute_dtype(dtype, device)
        self.uses_onednn = device.type == "cpu" and onednn_has(self.compute_dtype)
        self.streams = CpuStreams() if device.type == "cpu" else None
        lay_out = (
            OneDnnConv if self.uses_onednn else lambda conv: PlainConv.from_folded(conv, device)
        )
        folded = fold(config, state, self.compute_dtype)
        self.shapes = PackedShapes(TorchNetwork.from_folded(folded, lay_out))
        self.plain: TorchNetwork | None = None  # for graphs, once there was one
        self.head = TorchHead(config, state, device)
        self._any_size = cached_plan(config, 1, MIN_SIZE, MIN_SIZE, dtype)

    @property
    def network(self) -> TorchNetwork:
        return self.shapes.latest

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return the plan; while tracing one of another size, so that symbols stay symbols.

        Its steps are the same.
        """
        if tracing():
            return self._any_size
        return cached_plan(self.config, batch, height, width, self.dtype)

    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        """Do nothing: weights are packed for a shape when it comes back."""

    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Run the trunk on streams of images where there are any, and the head on the batch."""
        if normalization is not None:
            x = normalize(x, normalization, self.dtype)
        x = x.to(self.compute_dtype, memory_format=CHANNELS_LAST)
        steps = plan.steps_for(wanted)
        if tracing():
            self._unpack_for_graph()
            assert self.plain is not None
            with exact(self.device, self.compute_dtype):
                return [output.to(self.dtype) for output in self.plain.run(steps, x, wanted)]
        trunk, head, maps = Pass.of(steps, wanted)

        def forward(part: Tensor) -> list[Tensor]:
            network = self._network_for(plan, part.shape[0])
            with torch.no_grad():  # a stream's thread does not inherit it
                return network.run(trunk, part, maps)

        with exact(self.device, torch.float32 if head else self.compute_dtype):
            outputs = self.streams.map(forward, x) if self.streams else forward(x)
            found = {name: y.to(self.dtype) for name, y in zip(maps, outputs, strict=True)}
            live = self.head.run(head, found)
        return [live[name] for name in wanted]

    @at_trace_time
    def _unpack_for_graph(self) -> None:
        """Make the plain twin, which stays."""
        if self.plain is None:
            self.plain = unrecorded(self.network.plain)

    def _network_for(self, plan: Plan, batch: int) -> TorchNetwork:
        return self.shapes.get(plan, batch) if self.uses_onednn else self.network


def _compute_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return `dtype`, or float32 where the CPU has no bfloat16 convolution."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigError(
            f"dtype must be torch.float32, torch.bfloat16 or torch.float16, got {dtype}"
        )
    if device.type == "cpu" and dtype == torch.float16:
        raise ConfigError("torch.float16 needs a GPU; on the CPU use float32 or bfloat16")
    if device.type == "cpu" and dtype == torch.bfloat16 and not onednn_has(dtype):
        logger.warning(
            "this CPU has no fast bfloat16 convolutions: bfloat16 in and out, float32 between"
        )
        return torch.float32
    return dtype
