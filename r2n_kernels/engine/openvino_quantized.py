"""A quantization tells OpenVINO where a graph computes in int8."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import openvino
from openvino import opset13 as ops

from ..errors import WeightsError
from ..fold.quantization import Range
from .openvino_graph import Node, constant, named

CONVOLUTIONS = ("Convolution", "GroupConvolution")
# what these write is rounded if what they read is
MOVES = ("Transpose", "MaxPool", "Split", "Concat")


def insert_ranges(graph: openvino.Model, ranges: Mapping[str, Range]) -> None:
    """Round what is read at the places of `ranges`, where the graph has them.

    OpenVINO's CPU plug-in then runs what lies between two of them, and int8 weights, in int8.
    Readers of one output with one range share a node. What is wanted of the graph is read before.
    """
    made: dict[tuple[str, int, Range], Node] = {}
    for node in graph.get_ordered_ops():
        for number, read in enumerate(node.inputs()):
            found = ranges.get(f"{node.get_friendly_name()}:{number}")
            if found is None:
                continue
            source = read.get_source_output()
            name = source.get_node().get_friendly_name()
            key = (name, source.get_index(), found)
            if key not in made:
                made[key] = named(_rounded(source, found), f"{name}/{source.get_index()}/rounded")
            read.replace_source_output(made[key])
    graph.validate_nodes_and_infer_types()


def _rounded(x: Node, found: Range) -> Node:
    low, high = (constant(np.array(value, np.float32)) for value in found[:2])
    return ops.fake_quantize(x, low, high, low, high, found.levels)


def check_ranges(graph: openvino.Model, ranges: Mapping[str, Range]) -> None:
    """Round a whole network's graph, and raise WeightsError where the ranges do not fit it.

    All places must be there; and int8 weights must meet rounded values, because of floats and int8
    weights OpenVINO 2026.4 makes nonsense.
    """
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    inputs = {f"{name}:{i}" for name, node in nodes.items() for i in range(node.get_input_size())}
    if unknown := sorted(ranges.keys() - inputs):
        raise WeightsError(
            f"the quantization rounds at {', '.join(unknown[:3])}: no such place here"
        )
    insert_ranges(graph, ranges)
    for name, node in nodes.items():
        is_int8 = node.get_type_name() in CONVOLUTIONS and _type(node.input_value(1)) == "Multiply"
        if is_int8 and not _is_rounded(node.input_value(0)):
            raise WeightsError(f"the quantization says no range of what {name} reads")


def _is_rounded(x: Node) -> bool:
    kind = _type(x)
    read = [value for value in x.get_node().input_values() if _type(value) != "Constant"]
    return kind == "FakeQuantize" or (kind in MOVES and all(map(_is_rounded, read)))


def _type(x: Node) -> str:
    return x.get_node().get_type_name()
