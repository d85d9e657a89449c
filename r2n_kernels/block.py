"""`from r2n_kernels.block import FusedBlock` gets one Res2Net block on the Triton kernels.

The module is one operator, `torch.ops.r2n_kernels.block`, so torch.compile(fullgraph=True) and
torch.export take it whole, and a compiled or exported block gives eager's bits. Tiles and schedule
are chosen when it runs, for the shape and device that it meets: a new batch size recompiles nothing
where the graph's batch is dynamic, and an exported program suits whatever GPU loads it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import BlockConfig, Res2NetConfig
from .engine.block_op import block_op
from .engine.kernel_backend import DTYPES
from .errors import ConfigError, InferenceOnlyError
from .fold import FoldedBlock, fold
from .fold.triton_layout import pack_block
from .inference_only import ADVICE
from .weights import config_from_module, load_weights, unwrap_module

_DTYPE = f"dtype must be one of {', '.join(map(str, DTYPES))}, got {{}}"


class FusedBlock(nn.Module):
    """Turn x [N, Ci, H, W], in any strides, into [N, Co, ceil(H / stride), ...], channels_last.

    Weights are buffers, packed for the kernels: `.to(device)` and `.half()` work (biases stay
    float32), `.double()` raises. Forward needs a GPU that the kernels support, or the CPU and
    TRITON_INTERPRET=1.
    """

    w1: Tensor

    def __init__(
        self, config: Res2NetConfig, block: BlockConfig, folded: FoldedBlock, *,
        dtype: torch.dtype = torch.float32, device: torch.device | str | None = None,
    ) -> None:  # fmt: skip
        """Pack `folded`, which `fold(config, ...)` made in float32 of a `block` of the config.

        Raises ConfigError for another dtype, WeightsError where a weight overflows it.
        """
        super().__init__()
        if dtype not in DTYPES:
            raise ConfigError(_DTYPE.format(dtype))
        self.training = False
        self.geometry = {
            "in_channels": block.in_channels, "out_channels": block.out_channels,
            "width": block.width, "scale": config.scale, "stride": block.stride,
            "avg_down": config.avg_down,
        }  # fmt: skip
        with torch.inference_mode(False):  # buffers made in it could not be loaded into outside
            conv1, convs, conv3 = pack_block(folded, block.width, dtype)
            packed = {"w1": conv1.weight, "b1": conv1.bias, "w2": convs.weight, "b2": convs.bias,
                      "w3": conv3.weight, "b3": conv3.bias, "ws": conv3.shortcut}  # fmt: skip
            for name, tensor in packed.items():
                self.register_buffer(name, None if tensor is None else tensor.to(device))

    @classmethod
    def from_network(
        cls, network: nn.Module, name: str, *, dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> FusedBlock:  # fmt: skip
        """Take a block such as "layer3.5" of a Res2Net, timm's or the reference; the network stays.

        dtype and device default to the network's. Raises ConfigError, WeightsError.
        """
        network = unwrap_module(network)
        config = config_from_module(network)
        blocks = {block.name: block for block in config.blocks()}
        if name not in blocks:
            raise ConfigError(f"no block '{name}'; expected one of {', '.join(blocks)}")
        folded = fold(config, load_weights(network, config).state, torch.float32).blocks[name]
        first = next(network.parameters())
        return cls(
            config, blocks[name], folded, dtype=dtype or first.dtype, device=device or first.device
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run it. Raises InputError for another shape, dtype or device than the weights ask for."""
        weights = (self.w1, self.b1, self.w2, self.b2, self.w3, self.b3, self.ws)
        return block_op(x, *weights, **self.geometry)

    def train(self, mode: bool = True) -> FusedBlock:
        if mode:
            raise InferenceOnlyError(f"train() was called. {ADVICE}")
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedBlock:
        """Move the weights; biases follow to the device, but stay float32."""
        dtype = fn(torch.empty(0, dtype=self.w1.dtype, device=self.w1.device)).dtype
        if dtype not in DTYPES:
            raise ConfigError(_DTYPE.format(dtype))
        biases = {name: getattr(self, name) for name in ("b1", "b2", "b3")}
        super()._apply(fn, recurse)
        for name, bias in biases.items():
            if getattr(self, name).dtype != torch.float32:
                setattr(self, name, bias.to(getattr(self, name).device))
        return self

    def extra_repr(self) -> str:
        sizes = ", ".join(f"{name}={value}" for name, value in self.geometry.items())
        return f"{sizes}, {self.w1.dtype}, {self.w1.device}"
