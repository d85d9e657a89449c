"""OpenVINO is given the folded network as a graph, built from the steps of a plan.

The graph takes images as they lie in memory, [N, H, W, Ci]: bytes, which it normalises, or floats.
Everything behind is [N, C, H, W], which OpenVINO lays out as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops
from torch import Tensor

from ..fold import FoldedConv
from ..plan import Step
from .backend import Normalization

Node = Any  # an output of one of OpenVINO's nodes
Live = dict[str, Node]
CHANNELS = 1  # the axis
ANY = -1  # for a size


@dataclass(frozen=True)
class GraphInput:
    """A GraphInput is [N, H, W, Ci]; ANY where any size will do."""

    shape: tuple[int, int, int, int]
    normalization: Normalization | None = None  # of bytes; None: floats


def build_graph(
    weights: Mapping[str, Sequence[FoldedConv]], steps: Sequence[Step], images: GraphInput,
    wanted: Sequence[str], looks: Sequence[str],
) -> openvino.Model:  # fmt: skip
    """Return the graph of a plan's steps up to the head; `weights` are by step.

    Its outputs are the wanted buffers in float32 as [N, H, W, C], and then, of each image, the
    largest values that the steps of `looks` read, [N, looks]; nothing where there are none.
    """
    parameter, x = _input(images)
    live: Live = {"input": x}
    largest: list[Node] = []
    for step in steps:
        if step.name in looks:
            seen = ops.reduce_max(live[step.reads[0]], constant([1, 2, 3]), False)
            largest.append(ops.unsqueeze(seen, constant([1])).output(0))
        live[step.writes[0]] = OPS[step.op](weights.get(step.name, ()), step, live)
    outputs = [ops.transpose(live[name], constant([0, 2, 3, 1])).output(0) for name in wanted]
    if largest:
        outputs.append(_concatenated(largest))
    return _named(openvino.Model([ops.result(y) for y in outputs], [parameter], "res2net"))


def _named(graph: openvino.Model) -> openvino.Model:
    """Name all nodes alike in every process: their names are part of a cached network's key."""
    for number, node in enumerate(graph.get_ordered_ops()):
        if node.friendly_name == node.get_name():  # a count of all nodes that were ever made
            node.friendly_name = f"{node.get_type_name()}/{number}"
    for number, output in enumerate(graph.outputs):
        output.get_tensor().set_names({f"output{number}"})
    return graph


def _input(images: GraphInput) -> tuple[Any, Node]:
    """Return the parameter, and what it becomes: [N, Ci, H, W] float32."""
    if images.normalization is None:
        parameter = ops.parameter(images.shape, openvino.Type.f32, name="images")
        x = parameter.output(0)
    else:
        parameter = ops.parameter(images.shape, openvino.Type.u8, name="images")
        scale, shift = (values.numpy() for values in images.normalization)
        scaled = ops.multiply(ops.convert(parameter, "f32"), constant(scale))
        x = ops.add(scaled, constant(shift)).output(0)
    return parameter, ops.transpose(x, constant([0, 3, 1, 2])).output(0)


def constant(values: Any) -> Node:
    """Return a constant: of whole numbers, or of a float array, whose memory it shares."""
    if isinstance(values, np.ndarray):
        return ops.constant(np.ascontiguousarray(values), shared_memory=True)
    return ops.constant(np.array(values, dtype=np.int64))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def convolution(conv: FoldedConv, x: Node, name: str = "") -> Node:
    """Add a convolution and its bias, under its name."""
    weight, pad = conv.weight, [conv.weight.shape[-1] // 2] * 2
    around = ([conv.stride] * 2, pad, pad, [1, 1])
    if conv.groups == 1:
        y = ops.convolution(x, constant(_array(weight)), *around)
    else:
        grouped = weight.reshape(conv.groups, -1, *weight.shape[1:])
        y = ops.group_convolution(x, constant(_array(grouped)), *around)
    y.friendly_name = conv.name
    y = ops.add(y, constant(_array(conv.bias).reshape(1, -1, 1, 1)))
    y.friendly_name = f"{conv.name}/bias"
    return y.output(0)


def _relu(x: Node) -> Node:
    return ops.relu(x).output(0)


def _conv(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    return _relu(convolution(convs[0], live[step.reads[0]]))


def _maxpool(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    return ops.max_pool(live[step.reads[0]], [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)


def _average(x: Node, stride: int, size: int, pad: int, **how: Any) -> Node:
    return ops.avg_pool(x, [stride] * 2, [pad] * 2, [pad] * 2, [size] * 2, **how).output(0)


def _stage(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    """Add the chain: each convolution reads the one before it, and its own split."""
    splits = _splits(convs, step, live)
    outs = [_relu(convolution(convs[0], splits[0]))]
    for conv, split in zip(convs[1:], splits[1:], strict=False):  # the last split has none
        outs.append(_relu(convolution(conv, ops.add(outs[-1], split).output(0))))
    return _concatenated([*outs, *splits[len(outs) :]])


def _first_stage(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    splits = _splits(convs, step, live)
    outs = [_relu(convolution(conv, split)) for conv, split in zip(convs, splits, strict=False)]
    # padding counts, which is what the weights were trained with
    rest = [_average(x, convs[0].stride, 3, 1, exclude_pad=False) for x in splits[len(outs) :]]
    return _concatenated([*outs, *rest])


def _splits(convs: Sequence[FoldedConv], step: Step, live: Live) -> list[Node]:
    y, geometry = live[step.reads[0]], step.convs[0]
    count = y.get_partial_shape()[CHANNELS].get_length() // geometry.Ci
    return [y] if count == 1 else ops.split(y, constant(CHANNELS), count).outputs()


def _concatenated(parts: Sequence[Node]) -> Node:
    return parts[0] if len(parts) == 1 else ops.concat(list(parts), CHANNELS).output(0)


def _shortcut(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    x = live[step.reads[0]]
    if step.options["pooled"]:
        x = _average(x, 2, 2, 0, exclude_pad=True, rounding_type="ceil")
    return convolution(convs[0], x)


def _conv3(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    y, trunk = (live[name] for name in step.reads)
    return _relu(ops.add(convolution(convs[0], y), trunk).output(0))


OPS: Mapping[str, Callable[[Sequence[FoldedConv], Step, Live], Node]] = {
    "conv": _conv,
    "conv1": _conv,
    "maxpool": _maxpool,
    "stage": _stage,
    "first_stage": _first_stage,
    "shortcut": _shortcut,
    "conv3": _conv3,
}
