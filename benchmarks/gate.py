"""No time without right outputs: what every subject's logits are held to."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..engine.precision import exact
from ..reference import Res2Net
from ..tolerance import Verdict, judge, oracle_dtype

LAYOUTS = (torch.contiguous_format, torch.channels_last)


class Gate:
    """Logits of the first and last image of x [N, C, H, W], by eager PyTorch.

    In a wider dtype they are the truth; in x's own, in both memory layouts, they set the limit
    (`r2n_kernels.tolerance`).
    """

    def __init__(self, eager: Res2Net, x: Tensor) -> None:
        """`eager` is float32 on the CPU; x on any device."""
        self.picks = sorted({0, x.shape[0] - 1})
        picked, self.shape = x[self.picks], (x.shape[0], eager.config.num_classes)
        self.oracle = _logits(eager, picked.to(oracle_dtype(x.dtype)), LAYOUTS[0])
        self.plain = [_logits(eager, picked, layout) for layout in LAYOUTS]

    def judge(self, name: str, logits: Tensor) -> Verdict:
        """Of a subject's logits [N, classes]; another shape, or NaN in any row, is no pass."""
        logits = logits.cpu()
        right = tuple(logits.shape) == self.shape and bool(logits.isfinite().all())
        shown = logits[self.picks] if right else torch.full_like(self.plain[0], torch.nan)
        shown = shown.to(self.plain[0].dtype)
        return judge(name, shown, self.plain, self.oracle, network=True)


@torch.no_grad()
def _logits(eager: nn.Module, x: Tensor, layout: torch.memory_format) -> Tensor:
    model = copy.deepcopy(eager).to(x.device, x.dtype, memory_format=layout)
    with exact(x.device, x.dtype):
        return model(x.contiguous(memory_format=layout)).cpu()
