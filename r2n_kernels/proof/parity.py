"""A folded network is held to eager PyTorch: every feature map, the embedding, the logits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import VARIANTS
from ..create import from_timm
from ..engine import TritonOptions
from ..errors import ConfigError
from ..extras import load
from ..model import Res2NetModel
from ..reference import Res2Net, randomize
from .tolerance import Verdict, judge, oracle_dtype, relative_error

PEERS = ("timm", "reference")
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class ParityRow:
    """It has the errors of one output, against the wider-dtype oracle and the eager peer."""

    verdict: Verdict
    direct: float


def eager_model(name: str, against: str, seed: int = 0) -> nn.Module:
    """Build a variant in float32 and eval mode, with seeded weights and BatchNorm statistics.

    Raises ConfigError when timm is asked for and not installed.
    """
    config = VARIANTS[name]
    if against == "reference":
        return randomize(_empty(lambda: Res2Net(config)), seed)
    if against != "timm":
        raise ConfigError(f"parity against '{against}'; expected one of {', '.join(PEERS)}")
    timm = load("timm", "timm", "parity against timm")
    return randomize(_empty(lambda: timm.create_model(name)), seed)


def _empty(build: Callable[[], nn.Module]) -> nn.Module:
    """Build without drawing weights that would be overwritten: seconds for a large model."""
    with torch.device("meta"):
        model = build()
    return model.to_empty(device="cpu").float().eval()


@torch.no_grad()
def check_parity(
    eager: nn.Module, x: Tensor, dtype: torch.dtype, *, backend: str, device: str,
    triton: TritonOptions | None = None,
) -> list[ParityRow]:  # fmt: skip
    """Fold `eager` (float32, on the CPU) and compare on x [N, C, H, W] rounded to `dtype`."""
    ours = from_timm(eager, backend=backend, dtype=dtype, device=device, triton=triton)
    return compared(_run_ours(ours, x.to(device, dtype)), eager, x, dtype)


@torch.no_grad()
def compared(actual: Outputs, eager: nn.Module, x: Tensor, dtype: torch.dtype) -> list[ParityRow]:
    """Compare outputs for x [N, C, H, W] in `dtype` with eager's, which is in float32."""
    eager = copy.deepcopy(eager)  # half precision rounds its weights
    wide = oracle_dtype(dtype)
    oracle = _run_eager(eager, x.to(dtype).to(wide))
    plain, channels_last = (
        _run_eager(eager, x.to(dtype, memory_format=layout))
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    rows = []
    for name, truth in oracle.items():
        output, peers = actual[name].cpu(), [plain[name], channels_last[name]]
        verdict = judge(name, output, peers, truth, network=True)
        rows.append(ParityRow(verdict, relative_error(output, plain[name])))
    return rows


def _run_ours(model: Res2NetModel, x: Tensor) -> Outputs:
    """Run one forward, with the head that `model(x)` runs."""
    count = len(model.feature_info)
    *maps, embedding, logits = model.outputs(x, range(count), ("embedding", "logits"))
    return named(maps, embedding, logits)


def _run_eager(model: Any, x: Tensor) -> Outputs:
    """Run a Res2Net, ours or timm's, in the dtype and memory layout of x; it stays in them."""
    layouts = (torch.contiguous_format, torch.channels_last)
    model.to(x.dtype).to(memory_format=layouts[not x.is_contiguous()])
    if isinstance(model, Res2Net):
        maps = model.feature_maps(x)
    else:
        maps = model.forward_intermediates(x, intermediates_only=True)
    head = model.forward_head
    return named(maps, head(maps[-1], pre_logits=True), head(maps[-1]))


def named(maps: Sequence[Tensor], embedding: Tensor, logits: Tensor) -> Outputs:
    """Name the outputs of a pass; logits are the embedding again where there is no classifier."""
    features = {f"feature {i}": value for i, value in enumerate(maps)}
    return {**features, "embedding": embedding, "logits": logits}
