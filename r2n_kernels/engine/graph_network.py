"""The torch backend's network as a traced graph holds it: plain convolutions, no views written to.

oneDNN's own convolutions, weights packed for a shape, streams and the watch for overflow stay out:
they belong to this machine and to values. A plain ReLU passes NaN on, so there is nothing to watch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..fold.torch_layout import PlainConv
from ..plan import Step
from .torch_network import OPS, Live, TorchNetwork


class GraphNetwork:
    """The same convolutions as a TorchNetwork's, on the same weights."""

    def __init__(self, network: TorchNetwork) -> None:
        self.convs: Mapping[str, Sequence[PlainConv]] = {
            name: [conv.plain() for conv in convs] for name, convs in network.convs.items()
        }

    def run(self, steps: Sequence[Step], x: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        """As `TorchNetwork.run`; of a step only what is the same for all sizes is read."""
        live: Live = {"input": x}
        for step in steps:
            run = _stage if step.op == "stage" else OPS[step.op]
            live[step.writes[0]] = run(self.convs.get(step.name, ()), step, live)
        return [live[name] for name in wanted]


def _stage(convs: Sequence[PlainConv], step: Step, live: Live) -> Tensor:
    """The hierarchical chain, gathered by one concatenation.

    Exporters take writes into views out, and each would become a scatter over the whole tensor.
    """
    y = live[step.reads[0]]
    splits = y.split(step.convs[0].Ci, dim=1)
    if len(splits) == 1:
        return convs[0](y, relu=True)
    outs = [convs[0](splits[0], relu=True)]
    for conv, split in zip(convs[1:], splits[1:-1], strict=True):
        outs.append(conv(outs[-1] + split, relu=True))
    return torch.cat([*outs, splits[-1]], dim=1)
