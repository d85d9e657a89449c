"""Networks are compiled by OpenVINO for a shape, or for any, and the last ones are kept."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ..fold.quantization import Range
from ..plan import Plan
from .backend import Normalization
from .cpu_streams import MAX_STREAMS
from .looks import Look
from .openvino_compile import compile_graph
from .openvino_graph import ANY, GraphInput, Weights, build_graph
from .openvino_options import OpenVinoOptions
from .openvino_quantized import insert_ranges
from .openvino_requests import Compiled

PART = 2  # images of a request, where a batch is in parts
INT8_PART = 4  # of a quantized network, where all streams have as many: 5 % faster
NETWORKS = 2  # that are kept: each has the weights once more
REMEMBERED = 64  # shapes, each of which is compiled for when it comes back


class Kind(NamedTuple):
    """A Kind is what a network is compiled for."""

    wanted: tuple[str, ...]
    shape: tuple[int, int, int, int]  # of a part, [N, H, W, Ci]
    normalization: tuple[float, ...]  # of bytes, scale and shift; empty for floats
    streams: int
    threads: int
    process: int  # threads do not live on in a fork

    @property
    def part(self) -> int | None:
        return None if self.shape[0] == ANY else self.shape[0]


class Networks:
    """They are for the first shape, for batches in parts, and for shapes that come back.

    Others share a network that takes any size. Safe to use from several threads.
    """

    def __init__(
        self, weights: Weights, dtype: torch.dtype, looks: Sequence[Look],
        options: OpenVinoOptions, ranges: Mapping[str, Range],
    ) -> None:  # fmt: skip
        """ranges: where a quantized network rounds; empty for others."""
        self.weights, self.dtype, self.looks, self.options = weights, dtype, looks, options
        self.ranges = ranges
        self._kept: OrderedDict[Kind, Compiled] = OrderedDict()
        self._met: OrderedDict[Kind, None] = OrderedDict()
        self._lock = threading.Lock()

    def seen(self, plan: Plan, wanted: Sequence[str]) -> list[Look]:
        """Return the looks of a pass up to the wanted buffers."""
        names = {step.name for step in plan.steps_for(wanted)}
        return [look for look in self.looks if look.step in names]

    def for_pass(
        self, plan: Plan, wanted: tuple[str, ...], normalization: Normalization | None
    ) -> Compiled:
        """Return a network that runs the plan's batch. Raises KernelError, or ConfigError."""
        threads = torch.get_num_threads()
        streams = min(threads, MAX_STREAMS)
        in_parts = plan.batch >= PART * streams
        fits = bool(self.ranges) and plan.batch % (INT8_PART * streams) == 0
        part = (INT8_PART if fits else PART) if in_parts else plan.batch
        stated = () if normalization is None else tuple(torch.cat(normalization).tolist())
        shape = (part, plan.height, plan.width, plan.config.in_chans)
        own = Kind(wanted, shape, stated, streams if in_parts else 1, threads, os.getpid())
        with self._lock:
            pays = in_parts or own in self._met or not self._met
            _touch(self._met, own, None, REMEMBERED)
            kind = own if pays else own._replace(shape=(ANY, ANY, ANY, shape[-1]))
            network = self._kept.get(kind) or self._compile(plan, kind, normalization)
            _touch(self._kept, kind, network, NETWORKS)
            return network

    def _compile(self, plan: Plan, kind: Kind, normalization: Normalization | None) -> Compiled:
        graph = build_graph(
            self.weights, plan.steps_for(kind.wanted), GraphInput(kind.shape, normalization),
            kind.wanted, [look.step for look in self.seen(plan, kind.wanted)],
        )  # fmt: skip
        insert_ranges(graph, self.ranges)
        network = compile_graph(graph, self.dtype, kind.threads, kind.streams, self.options)
        return Compiled(network, kind.part, kind.streams)


def _touch(kept: OrderedDict, key: Kind, value: object, most: int) -> None:
    """Note that a key was used last, and forget the oldest beyond so many."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
