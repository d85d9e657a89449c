"""A step of a plan as the reference model has it: unfolded, an operator at a time."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..plan import Step
from ..reference import Res2Net


def run_plain(model: Res2Net, step: Step, live: Mapping[str, Tensor]) -> Tensor:
    """What the torch backend's step makes of live[step.reads], which stay as they are."""
    x = live[step.reads[0]]
    if step.op == "conv":
        return _stem(model, step.name, x)
    if step.op == "maxpool":
        return model.maxpool(x)
    block = model.get_submodule(step.name.rpartition(".")[0])
    if step.op == "conv1":
        return block.relu(block.bn1(block.conv1(x)))
    if step.op == "shortcut":
        return block.downsample(x)
    if step.op == "conv3":
        return block.relu(block.bn3(block.conv3(x)) + live[step.reads[1]])
    return block.hierarchy(x)


def _stem(model: Res2Net, name: str, x: Tensor) -> Tensor:
    """name: "conv1", or "conv1.0", "conv1.3" or "conv1.6" of a deep stem."""
    first = name.partition(".")[2]
    if first in ("", "6"):
        return model.act1(model.bn1(model.get_submodule(name)(x)))
    return model.conv1[int(first) : int(first) + 3](x)
