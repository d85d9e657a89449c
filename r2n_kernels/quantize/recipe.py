"""What NNCF made of a graph is read back as a quantization of the weights that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import openvino
import torch
from torch import Tensor

from ..engine.openvino_quantized import CONVOLUTIONS
from ..errors import KernelError
from ..fold.quantization import Range

WEIGHT = 1  # the input of a convolution


class Recipe(NamedTuple):
    """A Recipe has scales and ranges, as a `Quantization` has them, and who stayed in float."""

    scales: dict[str, Tensor]
    ranges: dict[str, Range]
    in_float: list[str]


def read_recipe(graph: openvino.Model) -> Recipe:
    """Return what a quantized graph, of `engine.openvino_graph`, says. Raises KernelError."""
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    scales, in_float = {}, []
    for name, node in nodes.items():
        if node.get_type_name() in CONVOLUTIONS:
            source = node.input_value(WEIGHT).get_node()
            if source.get_type_name() == "Multiply":
                scales[name] = _channels(source.input_value(1).get_node())
            else:
                in_float.append(name)
    ranges = {f"{name}:{number}": found for name, number, found in _ranges(nodes)}
    return Recipe(scales, ranges, sorted(in_float))


def _ranges(nodes: dict[str, Any]) -> Iterator[tuple[str, int, Range]]:
    for name, node in nodes.items():
        for number, value in enumerate(node.input_values()):
            source = value.get_node()
            if source.get_type_name() == "FakeQuantize":
                yield name, number, _range(source)


def _range(node: Any) -> Range:
    limits = [node.input_value(i).get_node().get_data() for i in range(1, 5)]
    same = all(np.array_equal(a, b) for a, b in zip(limits[:2], limits[2:], strict=True))
    if not same or any(limit.size != 1 for limit in limits):
        raise KernelError(f"NNCF rounds {node.get_friendly_name()} as no quantization here says")
    return Range(limits[0].item(), limits[1].item(), node.get_levels())


def _channels(constant: Any) -> Tensor:
    """Return the values of a constant, one a channel."""
    return torch.from_numpy(constant.get_data().astype(np.float32).reshape(-1))
