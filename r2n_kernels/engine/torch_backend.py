"""Runs a plan with library convolutions: oneDNN on the CPU, cuDNN on CUDA, ATen elsewhere."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..fold import FoldedConv, fold
from ..fold.torch_layout import CHANNELS_LAST, OneDnnConv, PlainConv, onednn_has
from ..plan import Plan, Step
from .cpu_streams import CpuStreams
from .precision import exact

logger = logging.getLogger("r2n_kernels.engine")

Live = dict[str, Tensor]
TAME = 1e15  # float32 and bfloat16 end at 3e38; normalised images are below 10


class TorchBackend:
    """Folded weights on one device in one dtype, and what each step of a plan does with them."""

    name = "torch"

    def __init__(
        self,
        config: Res2NetConfig,
        state: Mapping[str, Tensor],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`state` is canonical. Raises ConfigError for a dtype that the device cannot run."""
        self.config, self.device, self.dtype = config, device, dtype
        self.compute_dtype = _compute_dtype(dtype, device)
        self.streams = CpuStreams() if device.type == "cpu" else None
        self.uses_onednn = device.type == "cpu" and onednn_has(self.compute_dtype)

        folded = fold(config, state, self.compute_dtype)
        self.convs = {conv.name: self._lay_out(conv) for conv in folded.stem}
        self.chains = {}  # step name -> its 3x3 convolutions, in split order
        for path, block in folded.blocks.items():
            self.convs[f"{path}.conv1"] = self._lay_out(block.conv1)
            self.chains[f"{path}.convs"] = [self._lay_out(conv) for conv in block.convs]
            self.convs[f"{path}.conv3"] = self._lay_out(block.conv3)
            if block.shortcut is not None:
                self.convs[f"{path}.downsample"] = self._lay_out(block.shortcut)
        self._nan_safe = self._without_fused_relu() if self.uses_onednn else self

    def _lay_out(self, conv: FoldedConv) -> OneDnnConv | PlainConv:
        return OneDnnConv(conv) if self.uses_onednn else PlainConv(conv, self.device)

    def _without_fused_relu(self) -> TorchBackend:
        twin = copy.copy(self)
        twin.convs = {name: conv.unfused() for name, conv in self.convs.items()}
        twin.chains = {name: [c.unfused() for c in chain] for name, chain in self.chains.items()}
        return twin

    def run(self, plan: Plan, x: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        """Run the plan on x [N, Ci, H, W] until the wanted buffers are final, and return those.

        Outputs are channels_last in the backend's dtype. Safe to call from several threads.
        """
        steps = plan.steps_for(wanted)
        x = x.to(self.compute_dtype, memory_format=CHANNELS_LAST)
        network = self if not self.uses_onednn or _is_tame(x) else self._nan_safe

        def forward(part: Tensor) -> list[Tensor]:
            with torch.no_grad():  # a stream's thread does not inherit it
                return network._forward(steps, part, wanted)

        with exact(self.device, self.compute_dtype):
            outputs = self.streams.map(forward, x) if self.streams else forward(x)
        return [output.to(self.dtype) for output in outputs]

    def _forward(self, steps: Sequence[Step], x: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        ops: dict[str, Callable[[Step, Live], Tensor]] = {
            "conv": self._conv,
            "conv1": self._conv,
            "maxpool": self._maxpool,
            "stage": self._stage,
            "first_stage": self._first_stage,
            "shortcut": self._shortcut,
            "conv3": self._conv3,
        }
        live: Live = {"input": x}
        for step in steps:
            live[step.writes[0]] = ops[step.op](step, live)
            for name in step.frees:
                if name not in wanted:
                    del live[name]
        return [live[name] for name in wanted]

    def _conv(self, step: Step, live: Live) -> Tensor:
        return self.convs[step.name](live[step.reads[0]], relu=True)

    def _maxpool(self, step: Step, live: Live) -> Tensor:
        return F.max_pool2d(live[step.reads[0]], 3, 2, 1)

    def _stage(self, step: Step, live: Live) -> Tensor:
        """The hierarchical chain, written over conv1's output; the last split is in its place."""
        y, convs = live[step.reads[0]], self.chains[step.name]
        if self.config.scale == 1:
            return convs[0](y, relu=True)
        splits = y.split(step.convs[0].Ci, dim=1)
        z = splits[0].contiguous(memory_format=CHANNELS_LAST)
        for i, conv in enumerate(convs):
            z = conv(z.add_(splits[i]) if i else z, relu=True)
            splits[i].copy_(z)
        return y

    def _first_stage(self, step: Step, live: Live) -> Tensor:
        y, convs = live[step.reads[0]], self.chains[step.name]
        if self.config.scale == 1:
            return convs[0](y, relu=True)
        *splits, last = y.split(step.convs[0].Ci, dim=1)
        outs = [
            conv(split.contiguous(memory_format=CHANNELS_LAST), relu=True)
            for conv, split in zip(convs, splits, strict=True)
        ]
        # count_include_pad, PyTorch's default, is what the weights were trained with
        outs.append(F.avg_pool2d(last, 3, step.convs[0].stride, padding=1))
        return torch.cat(outs, dim=1)

    def _shortcut(self, step: Step, live: Live) -> Tensor:
        x = live[step.reads[0]]
        if step.launches[0].what == "pool":
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
        return self.convs[step.name](x, relu=False)

    def _conv3(self, step: Step, live: Live) -> Tensor:
        y, trunk = (live[name] for name in step.reads)
        return self.convs[step.name].add_relu_(y, trunk)


def _is_tame(x: Tensor) -> bool:
    """Whether no activation can become NaN: all finite, and far from overflow after 100 layers."""
    low, high = torch.aminmax(x)
    return bool((low >= -TAME) & (high <= TAME))


def _compute_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What the convolutions run in: `dtype`, or float32 where a CPU has no bfloat16 convolution."""
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
