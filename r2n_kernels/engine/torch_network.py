"""The torch backend has these networks, each of which runs the steps of a plan's trunk.

One is fast here: oneDNN's convolutions, weights packed for a shape, a watch for overflow. Its plain
twin is what graphs hold: those belong to this machine and to values, so they stay out. A plain ReLU
passes NaN on, so there is nothing to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..fold import FoldedNet
from ..fold.torch_layout import CHANNELS_LAST, Layouts, OneDnnConv, PlainConv
from ..plan import Plan, Step
from .overflow import Growth, Watch, growths

Conv = OneDnnConv | PlainConv
Live = dict[str, Tensor]
Op = Callable[[Sequence[Conv], Step, Live], Tensor]


class TorchNetwork:
    """It has convolutions by the name of their step, in the order of the step's geometries.

    growths: for convolutions whose ReLU turns NaN into 0; empty for others. ops: what runs a step.
    """

    def __init__(
        self, convs: Mapping[str, Sequence[Conv]], growths: Mapping[str, Growth],
        ops: Mapping[str, Op] | None = None,
    ) -> None:  # fmt: skip
        self.convs, self.growths, self.ops = convs, growths, ops or OPS

    @classmethod
    def from_folded(cls, net: FoldedNet, lay_out: Callable[..., Conv]) -> TorchNetwork:
        convs = {step: [lay_out(conv) for conv in of] for step, of in net.by_step().items()}
        hides_nan = any(isinstance(conv, OneDnnConv) for conv in convs[net.stem[0].name])
        return cls(convs, growths(net) if hides_nan else {})

    def plain(self) -> TorchNetwork:
        """Return a twin for graphs."""
        twin = self._twin(lambda conv: conv.plain())
        return TorchNetwork(twin.convs, {}, {**OPS, "stage": _gathered_stage})

    def unpacked(self) -> TorchNetwork:
        """Return a twin that runs any shape, in some more time."""
        return self._twin(lambda conv: conv.unpacked())

    def packed_for(
        self, plan: Plan, batch: int, others: Sequence[TorchNetwork] = ()
    ) -> TorchNetwork:
        """Return a twin whose weights are packed for `batch` of the plan's images at a time.

        Where a layout is that of one of the others, the weight is theirs.
        """
        known: Layouts = {}
        packed = {
            step.name: [
                conv.packed_for((batch, geometry.Ci, geometry.H, geometry.W), twins, known)
                for conv, geometry, *twins in zip(
                    self.convs[step.name], step.convs,
                    *(other.convs[step.name] for other in others), strict=True,
                )
            ]
            for step in plan.steps
            if step.name in self.convs
        }  # fmt: skip
        return TorchNetwork(packed, self.growths)

    def weights(self) -> Iterator[Tensor]:
        for convs in self.convs.values():
            for conv in convs:
                yield conv.weight

    def _twin(self, change: Callable[[Conv], Conv]) -> TorchNetwork:
        convs = {name: [change(conv) for conv in convs] for name, convs in self.convs.items()}
        return TorchNetwork(convs, self.growths)

    def run(self, steps: Sequence[Step], x: Tensor, wanted: Collection[str]) -> list[Tensor]:
        """Run steps of the trunk on x [N, Ci, H, W], channels_last, and never write into x.

        NaN spreads as in PyTorch: `overflow` says how it is known where fused ReLU would hide it.
        Only what is the same for all sizes is read of a step: a graph's are symbols.
        """
        live: Live = {"input": x}
        watch = Watch(self.growths)
        for step in steps:
            convs = self.convs.get(step.name, ())
            if not watch.allows(step.name, live[step.reads[0]]):
                convs = [conv.unfused() for conv in convs]
            live[step.writes[0]] = self.ops[step.op](convs, step, live)
            for name in step.frees:
                if name not in wanted:
                    del live[name]
        return [live[name] for name in wanted]


def _conv(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    return convs[0](live[step.reads[0]], relu=True)


def _maxpool(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    return F.max_pool2d(live[step.reads[0]], 3, 2, 1)


def _stage(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    """Write the hierarchical chain over conv1's output; the last split is in its place.

    oneDNN's convolutions take whole tensors, so splits are copied: 1 % of a batch of one, half of
    what one concatenation costs.
    """
    y = live[step.reads[0]]
    splits = y.split(step.convs[0].Ci, dim=1)
    if len(splits) == 1:
        return convs[0](y, relu=True)
    z = splits[0].contiguous(memory_format=CHANNELS_LAST)
    for i, conv in enumerate(convs):
        z = conv(z.add_(splits[i]) if i else z, relu=True)
        splits[i].copy_(z)
    return y


def _gathered_stage(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    """Gather the chain by one concatenation.

    Exporters take writes into views out, and each would become a scatter over the whole tensor.
    """
    splits = live[step.reads[0]].split(step.convs[0].Ci, dim=1)
    outs = [convs[0](splits[0], relu=True)]
    for conv, split in zip(convs[1:], splits[1:-1], strict=True):
        outs.append(conv(outs[-1] + split, relu=True))
    return torch.cat([*outs, *splits[len(outs) :]], dim=1)


def _first_stage(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    y = live[step.reads[0]]
    splits = y.split(step.convs[0].Ci, dim=1)
    if len(splits) == 1:
        return convs[0](y, relu=True)
    outs = [
        conv(split.contiguous(memory_format=CHANNELS_LAST), relu=True)
        for conv, split in zip(convs, splits[:-1], strict=True)
    ]
    # count_include_pad, PyTorch's default, is what the weights were trained with
    outs.append(F.avg_pool2d(splits[-1], 3, step.convs[0].stride, padding=1))
    return torch.cat(outs, dim=1)


def _shortcut(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    x = live[step.reads[0]]
    if step.options["pooled"]:
        x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
    return convs[0](x, relu=False)


def _conv3(convs: Sequence[Conv], step: Step, live: Live) -> Tensor:
    y, trunk = (live[name] for name in step.reads)
    return convs[0].add_relu_(y, trunk)


OPS: Mapping[str, Op] = {
    "conv": _conv,
    "conv1": _conv,
    "maxpool": _maxpool,
    "stage": _stage,
    "first_stage": _first_stage,
    "shortcut": _shortcut,
    "conv3": _conv3,
}
