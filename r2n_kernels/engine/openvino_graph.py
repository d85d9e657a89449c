"""OpenVINO is given the folded network as a graph, built from the steps of a plan.

The graph takes images as they lie in memory, [N, H, W, Ci]: bytes, which it normalises, or floats.
Everything behind is [N, C, H, W], which OpenVINO lays out as it likes. Nodes have names, which a
quantization says its places by: a convolution's own, and "/bias", "/sum" and "/relu" behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops
from torch import Tensor

from ..fold import FoldedConv, FoldedNet
from ..plan import Step
from .backend import Normalization

Node = Any  # an output of one of OpenVINO's nodes
Live = dict[str, Node]
Weights = Mapping[str, Sequence[FoldedConv]]  # by step
CHANNELS = 1  # the axis
ANY = -1  # for a size


@dataclass(frozen=True)
class GraphInput:
    """A GraphInput is [N, H, W, Ci]; ANY where any size will do."""

    shape: tuple[int, int, int, int]
    normalization: Normalization | None = None  # of bytes; None: floats


def weights_by_step(folded: FoldedNet, state: Mapping[str, Tensor]) -> Weights:
    """Return a network's convolutions by step, and as the last one its classifier, if there is one.

    The classifier's are copies: `state` may be the modules' own memory.
    """
    weights: dict[str, tuple[FoldedConv, ...]] = folded.by_step()
    if "fc.weight" in state:
        weight, bias = (state[f"fc.{part}"].clone() for part in ("weight", "bias"))
        weights["fc"] = (FoldedConv("fc", weight, bias),)
    return weights


def build_graph(
    weights: Weights, steps: Sequence[Step], images: GraphInput,
    wanted: Sequence[str], looks: Sequence[str],
) -> openvino.Model:  # fmt: skip
    """Return the graph of a plan's steps; `weights` are by step, the classifier among them.

    Its outputs are the wanted buffers in float32, maps as [N, H, W, C], and then, of each image,
    the largest values that the steps of `looks` read, [N, looks]; nothing where there are none.
    """
    parameter, x = _input(images)
    live: Live = {"input": x}
    largest: list[Node] = []
    for step in steps:
        if step.name in looks:
            seen = ops.reduce_max(live[step.reads[0]], constant([1, 2, 3]), False)
            largest.append(ops.unsqueeze(seen, constant([1])).output(0))
        live[step.writes[0]] = OPS[step.op](weights.get(step.name, ()), step, live)
    outputs = [_channels_last(live[name]) for name in wanted]
    if largest:
        outputs.append(ops.concat(largest, CHANNELS).output(0))
    return openvino.Model([ops.result(y) for y in outputs], [parameter], "res2net")


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
    return parameter, named(ops.transpose(x, constant([0, 3, 1, 2])), "input")


def named(node: Any, name: str) -> Node:
    """Return a node's output, and call the node so."""
    node.friendly_name = name
    return node.output(0)


def _channels_last(x: Node) -> Node:
    is_map = x.get_partial_shape().rank.get_length() == 4
    return ops.transpose(x, constant([0, 2, 3, 1])).output(0) if is_map else x


def constant(values: Any) -> Node:
    """Return a constant: of whole numbers, or of a float array, whose memory it shares."""
    if isinstance(values, np.ndarray):
        return ops.constant(np.ascontiguousarray(values), shared_memory=True)
    return ops.constant(np.array(values, dtype=np.int64))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def convolution(conv: FoldedConv, x: Node) -> Node:
    """Add a convolution and its bias, under its name."""
    weight, pad = conv.weight, [conv.weight.shape[-1] // 2] * 2
    around = ([conv.stride] * 2, pad, pad, [1, 1])
    if conv.groups == 1:
        y = ops.convolution(x, _weight(conv, weight), *around)
    else:
        grouped = weight.reshape(conv.groups, -1, *weight.shape[1:])
        y = ops.group_convolution(x, _weight(conv, grouped), *around)
    bias = constant(_array(conv.bias).reshape(1, -1, 1, 1))
    return named(ops.add(named(y, conv.name), bias), f"{conv.name}/bias")


def _weight(conv: FoldedConv, weight: Tensor) -> Node:
    """Add a convolution's weight, in its shape or in groups; an int8 one becomes float32."""
    if conv.scale is None:
        return constant(_array(weight))
    rows = weight.shape[: 1 if weight.ndim == conv.weight.ndim else 2]
    scale = conv.scale.reshape(*rows, *[1] * (weight.ndim - len(rows)))
    wide = ops.convert(constant(_array(weight)), "f32")
    return ops.multiply(wide, constant(_array(scale))).output(0)


def _relu(x: Node, conv: FoldedConv) -> Node:
    return named(ops.relu(x), f"{conv.name}/relu")


def _sum(conv: FoldedConv, a: Node, b: Node) -> Node:
    return named(ops.add(a, b), f"{conv.name}/sum")


def _conv(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    return _relu(convolution(convs[0], live[step.reads[0]]), convs[0])


def _maxpool(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    pool = ops.max_pool(live[step.reads[0]], [2, 2], [1, 1], [1, 1], [1, 1], [3, 3])
    return named(pool, step.name)


def _average(step: Step, x: Node, stride: int, size: int, pad: int, **how: Any) -> Node:
    pool = ops.avg_pool(x, [stride] * 2, [pad] * 2, [pad] * 2, [size] * 2, **how)
    return named(pool, f"{step.name}/pool")


def _stage(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    """Add the chain: each convolution reads the one before it, and its own split."""
    splits = _splits(convs, step, live)
    outs = [_relu(convolution(convs[0], splits[0]), convs[0])]
    for conv, split in zip(convs[1:], splits[1:], strict=False):  # the last split has none
        outs.append(_relu(convolution(conv, _sum(conv, outs[-1], split)), conv))
    return _concatenated(step, [*outs, *splits[len(outs) :]])


def _first_stage(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    splits = _splits(convs, step, live)
    outs = [
        _relu(convolution(conv, split), conv) for conv, split in zip(convs, splits, strict=False)
    ]
    # padding counts, which is what the weights were trained with
    rest = [
        _average(step, x, convs[0].stride, 3, 1, exclude_pad=False) for x in splits[len(outs) :]
    ]
    return _concatenated(step, [*outs, *rest])


def _splits(convs: Sequence[FoldedConv], step: Step, live: Live) -> list[Node]:
    y, geometry = live[step.reads[0]], step.convs[0]
    count = y.get_partial_shape()[CHANNELS].get_length() // geometry.Ci
    if count == 1:
        return [y]
    split = ops.split(y, constant(CHANNELS), count)
    split.friendly_name = f"{step.name}/split"
    return split.outputs()


def _concatenated(step: Step, parts: Sequence[Node]) -> Node:
    return parts[0] if len(parts) == 1 else named(ops.concat(list(parts), CHANNELS), step.name)


def _shortcut(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    x = live[step.reads[0]]
    if step.options["pooled"]:
        x = _average(step, x, 2, 2, 0, exclude_pad=True, rounding_type="ceil")
    return convolution(convs[0], x)


def _conv3(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    y, trunk = (live[name] for name in step.reads)
    return _relu(_sum(convs[0], convolution(convs[0], y), trunk), convs[0])


def _global_pool(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    return named(ops.reduce_mean(live[step.reads[0]], constant([2, 3]), False), step.name)


def _linear(convs: Sequence[FoldedConv], step: Step, live: Live) -> Node:
    y = ops.matmul(live[step.reads[0]], _weight(convs[0], convs[0].weight), False, True)
    return named(ops.add(named(y, step.name), constant(_array(convs[0].bias))), f"{step.name}/bias")


OPS: Mapping[str, Callable[[Sequence[FoldedConv], Step, Live], Node]] = {
    "conv": _conv,
    "conv1": _conv,
    "maxpool": _maxpool,
    "stage": _stage,
    "first_stage": _first_stage,
    "shortcut": _shortcut,
    "conv3": _conv3,
    "global_pool": _global_pool,
    "linear": _linear,
}
