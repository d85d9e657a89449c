"""Images show how large activations become: scales for kernels that compute blocks in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, InputError
from ..fold.quantization import hash_trunk
from ..inputs import normalize, scale_and_shift, stated_normalization
from ..int8 import LARGEST, ActivationScales, BlockScales
from ..model import Res2NetModel
from ..reference import Res2Net
from ..reference.model import Bottle2neck
from .calibration import Calibration, Tick

BATCH = 8


@torch.no_grad()
def activation_scales(
    model: Res2NetModel, calibration: Calibration, *, images: int = 300,
    tick: Tick = lambda count: None,
) -> ActivationScales:  # fmt: skip
    """Return scales by which the largest magnitude that any image shows is 127.

    So many `images`, spread over the set, pass the reference network in float32 on the CPU, with
    the model's weights. A tensor that is always 0 has the scale 1. Raises InputError where the
    model states no mean and standard deviation for bytes, or where its activations are not finite,
    and ConfigError for a model without weights of its own, as of a bundle, or too few images.
    """
    if not isinstance(model, Res2NetModel) or images < 1:
        raise ConfigError(
            f"expected a model of a checkpoint and at least 1 image, got {type(model).__name__} "
            f"and {images}"
        )
    cpu, channels = torch.device("cpu"), calibration.images.shape[-1]
    normalization = scale_and_shift(*stated_normalization(model.pretrained_cfg, channels), cpu)
    network = Res2Net(model.config).eval()
    network.load_state_dict({k: t.detach().float().cpu() for k, t in model.state_dict().items()})
    found: dict[str, float] = {}
    for name, module in network.named_modules():
        if isinstance(module, Bottle2neck):
            _watch_block(name, module, found)
    network.maxpool.register_forward_pre_hook(_watch(found, "stem"))
    for batch in calibration.images[[*calibration.spread(images)]].split(BATCH):
        network(normalize(batch.permute(0, 3, 1, 2), normalization, torch.float32))
        tick(len(batch))
    if bad := [name for name, largest in found.items() if not largest < float("inf")]:
        raise InputError(f"activations of the calibration images are not finite: {bad[0]}")
    scales = {name: largest / LARGEST or 1.0 for name, largest in found.items()}
    blocks = (
        BlockScales(name, *(scales[f"{name}.{part}"] for part in ("planes", "y", "out")))
        for name in (block.name for block in model.config.blocks())
    )
    return ActivationScales(scales["stem"], tuple(blocks), hash_trunk(model.state_dict()))


def _watch_block(name: str, block: Bottle2neck, found: dict[str, float]) -> None:
    """Watch what a block's kernels write. Splits are not negative: sums are as large as they."""
    for conv in block.convs:
        conv.register_forward_pre_hook(_watch(found, f"{name}.planes"))
    if block.pool is not None:
        block.pool.register_forward_pre_hook(_watch(found, f"{name}.planes"))
    block.conv3.register_forward_pre_hook(_watch(found, f"{name}.y"))
    keep = _watch(found, f"{name}.out")
    block.register_forward_hook(lambda module, args, out: keep(module, (out,)))


def _watch(found: dict[str, float], name: str) -> Callable[[nn.Module, Any], None]:
    """Return a hook that keeps the largest magnitude of what a module is given."""

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        largest = args[0].abs().max().item()  # NaN stays: nothing is larger
        before = found.get(name, 0.0)
        found[name] = before if before != before else max(largest, before)

    return hook
