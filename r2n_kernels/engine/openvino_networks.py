"""Networks are compiled by OpenVINO for a shape, or for any, and the last ones are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch

from ..fold import FoldedConv
from ..fold.quantization import Range
from ..mapped import Mapped, mapped
from ..plan import Plan, Step
from .backend import Normalization
from .cpu_streams import MAX_STREAMS
from .looks import Look
from .openvino_compile import compile_graph
from .openvino_graph import ANY, GraphInput, Weights, build_graph
from .openvino_quantized import insert_ranges
from .openvino_requests import Compiled
from .torch_head import Pass

PART = 2  # images of a request, where a batch is in parts
INT8_PART = 4  # of a quantized network, where all streams have as many: 5 % faster
NETWORKS = 2  # that are kept, but for low memory: each has the weights once more
REMEMBERED = 64  # shapes, each of which is compiled for when it comes back

T = TypeVar("T")


class Kind(NamedTuple):
    """A Kind is what a network is compiled for."""

    maps: tuple[str, ...]  # its outputs
    shape: tuple[int, int, int, int]  # of a part, [N, H, W, Ci]
    normalization: tuple[float, ...]  # of bytes, scale and shift; empty for floats
    streams: int
    threads: int

    @property
    def part(self) -> int | None:
        return None if self.shape[0] == ANY else self.shape[0]


class Networks:
    """They are for the first shape, for batches in parts, and for shapes that come back.

    Others share a network that takes any size. Safe to use from several threads.
    """

    def __init__(
        self, weights: Weights, dtype: torch.dtype, looks: Sequence[Look], low_memory: bool,
        ranges: Mapping[str, Range],
    ) -> None:  # fmt: skip
        """ranges: where a quantized network rounds; empty for others."""
        self.weights, self.dtype, self.looks, self.ranges = weights, dtype, looks, ranges
        self._most = 1 if low_memory else NETWORKS
        self._mapped: Mapped | None = None
        if low_memory:  # OpenVINO keeps them beside what it packs of them, and seldom reads them
            self._mapped, self.weights = _in_a_file(weights)
        self._kept: OrderedDict[Kind, Compiled] = OrderedDict()
        self._met: OrderedDict[Kind, bool] = OrderedDict()  # and whether they had their own
        self._lock = threading.Lock()

    def looks_at(self, trunk: Sequence[Step]) -> list[Look]:
        """Return the looks at a pass, behind the one at its input."""
        names = {step.name for step in trunk}
        return [look for look in self.looks if look.step in names]

    def for_pass(self, plan: Plan, what: Pass, normalization: Normalization | None) -> Compiled:
        """Return a network for the plan's batch. Raises KernelError."""
        threads = torch.get_num_threads()
        streams = min(threads, MAX_STREAMS)
        in_parts = plan.batch >= PART * streams
        fits = bool(self.ranges) and plan.batch % (INT8_PART * streams) == 0
        part = (INT8_PART if fits else PART) if in_parts else plan.batch
        shape = (part, plan.height, plan.width, plan.config.in_chans)
        stated = () if normalization is None else tuple(torch.cat(normalization).tolist())
        own = Kind(what.maps, shape, stated, streams if in_parts else 1, threads)
        with self._lock:
            # who had its own and lost it shares: else some kinds in turn compile for ever
            had_own = self._met.get(own)
            pays = in_parts or own in self._kept or had_own is False or not self._met
            _keep(self._met, own, pays or bool(had_own), REMEMBERED)
            kind = own if pays else own._replace(shape=(ANY, ANY, ANY, shape[-1]))
            network = self._kept.get(kind) or self._compile(what, kind, normalization)
            _keep(self._kept, kind, network, self._most)
            return network

    def _compile(self, what: Pass, kind: Kind, normalization: Normalization | None) -> Compiled:
        images = GraphInput(kind.shape, normalization)
        looks = [look.step for look in self.looks_at(what.trunk)]
        graph = build_graph(self.weights, what.trunk, images, kind.maps, looks)
        insert_ranges(graph, self.ranges)
        network = compile_graph(graph, self.dtype, kind.threads, kind.streams)
        if self._mapped is not None:
            self._mapped.page_out()
        return Compiled(network, kind.part, kind.streams)


def _in_a_file(
    weights: Mapping[str, Sequence[FoldedConv]],
) -> tuple[Mapped, dict[str, tuple[FoldedConv, ...]]]:
    kept = mapped(
        {f"{step}.{i}": conv.weight for step, of in weights.items() for i, conv in enumerate(of)}
    )
    there = {
        step: tuple(replace(conv, weight=kept.tensors[f"{step}.{i}"]) for i, conv in enumerate(of))
        for step, of in weights.items()
    }
    return kept, there


def _keep(kept: OrderedDict[Kind, T], key: Kind, value: T, most: int) -> None:
    """Note what was used last, and forget the oldest beyond so many."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
