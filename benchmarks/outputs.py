"""Every subject's logits are checked: there is no time without right outputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..engine.precision import exact
from ..proof.tolerance import Verdict, judge, oracle_dtype

LAYOUTS = (torch.contiguous_format, torch.channels_last)
CHUNK = 16  # images at a time: wide activations take memory


class OutputCheck:
    """An OutputCheck judges logits by those of eager PyTorch for every image of x [N, C, H, W].

    In a wider dtype they are the truth; in x's own, in both memory layouts, they set the limit
    (`r2n_kernels.proof.tolerance`).
    """

    def __init__(self, eager: nn.Module, x: Tensor) -> None:
        """Compute eager PyTorch's logits. `eager` is float32 on the CPU; x is on any device."""
        self.oracle = _logits(eager, x, oracle_dtype(x.dtype), LAYOUTS[0])
        self.plain = [_logits(eager, x, x.dtype, layout) for layout in LAYOUTS]

    def judge(self, name: str, logits: Tensor) -> Verdict:
        """Judge a subject's logits [N, classes]; another shape does not pass."""
        logits = logits.cpu().to(self.plain[0].dtype)
        if logits.shape != self.oracle.shape:
            logits = torch.full_like(self.plain[0], torch.nan)
        return judge(name, logits, self.plain, self.oracle, network=True)


@torch.no_grad()
def _logits(eager: nn.Module, x: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    model = copy.deepcopy(eager).to(x.device, dtype).to(memory_format=layout)
    with exact(x.device, dtype):
        parts = x.split(CHUNK)
        return torch.cat([model(p.to(dtype).contiguous(memory_format=layout)).cpu() for p in parts])
