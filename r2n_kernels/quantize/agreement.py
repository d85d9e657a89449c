"""An int8 network is measured beside the float32 one: accuracy, equal answers, equal logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import Res2NetModel
from .calibration import Calibration, Tick

BATCH = 8


def agreement(
    model: Res2NetModel, int8: Res2NetModel, calibration: Calibration,
    tick: Tick = lambda count: None,
) -> dict[str, Any]:  # fmt: skip
    """Return what int8 costs over a set of images, as JSON has it.

    top1_equal: the share of images with the same best class. cosine: of an image's logits, the mean
    and the worst one. error: the largest difference of logits over the largest logit. Where targets
    are known, top-1 of both, and the drop in percentage points, too.
    """
    exact, rounded = _logits(model, calibration, tick), _logits(int8, calibration, tick)
    ours, theirs = rounded.argmax(dim=1), exact.argmax(dim=1)
    cosine = F.cosine_similarity(rounded.double(), exact.double())
    found: dict[str, Any] = {
        "images": len(exact),
        "top1_equal": _share(ours == theirs),
        "cosine_mean": cosine.mean().item(),
        "cosine_min": cosine.min().item(),
        "error": ((rounded - exact).abs().max() / exact.abs().max()).item(),
    }
    if calibration.targets is not None:
        top1 = _share(theirs == calibration.targets), _share(ours == calibration.targets)
        found |= {"top1_float32": top1[0], "top1_int8": top1[1], "drop": 100 * (top1[0] - top1[1])}
    else:
        found["drop"] = 100 * (1 - found["top1_equal"])
    return found


@torch.no_grad()
def _logits(model: Res2NetModel, calibration: Calibration, tick: Tick) -> Tensor:
    found = []
    for images in calibration.images.split(BATCH):
        output = model(images)
        assert isinstance(output, Tensor)  # not features_only
        found.append(output.float())
        tick(len(images))
    return torch.cat(found)


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()
