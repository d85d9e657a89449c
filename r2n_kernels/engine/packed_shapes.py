"""Weights are held once: packed for the shapes that come back, or plain while all are new.

oneDNN wants a weight in another layout for some shapes, and packs it from any layout, losing
nothing. So of a weight there is one copy for each layout that is wanted, whatever the number of
shapes. Of the headline's 182 MB in float32, batches of other sizes want 40 MB differently, images
of other sizes 50 to 100 MB. Packing for a new shape costs no more than a pass on plain weights,
which oneDNN reorders in every call; where all shapes are new, they need only one copy.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch

from ..plan import Plan
from .torch_network import TorchNetwork

MAX_SHAPES = 8  # that are remembered
MAX_COPIES = 2  # of all weights, where shapes want other layouts: two shapes always fit
MANY_NEW = 3  # more shapes that are new than come back: they are not worth packing


class PackedShapes:
    """It finds the network for a shape. Safe to share between threads.

    latest: the network that was asked for last, from whose weights others are made.
    """

    def __init__(self, network: TorchNetwork) -> None:
        """Take a network of plain weights, which go once a shape comes back."""
        self.latest = network
        self._bytes = held_bytes(network)
        self._shapes: OrderedDict[tuple[int, ...], TorchNetwork] = OrderedDict()
        self._is_plain, self._new = True, 0
        self._lock = threading.Lock()

    def get(self, plan: Plan, batch: int) -> TorchNetwork:
        """Return the network for `batch` of the plan's images at a time, on as many threads."""
        # oneDNN's choice of a layout depends on the number of threads too
        shape = (batch, plan.height, plan.width, torch.get_num_threads())
        with self._lock:
            network = self._shapes.get(shape)
            self._new += 1 if network is None else -1
            self._new = min(max(self._new, 0), MANY_NEW)
            if network is None or (self._is_plain and not self._new):
                with torch.inference_mode(False):  # weights outlive the caller's mode
                    network = self._made(plan, batch, network is None)
                self._shapes[shape] = network
                self._bound()
            self._shapes.move_to_end(shape)
            self.latest = network
            return network

    def _made(self, plan: Plan, batch: int, is_new: bool) -> TorchNetwork:
        if self._is_plain:
            if is_new:
                return self.latest
            self._is_plain = False
            self._shapes.clear()  # the others ran on the plain weights
            return self.latest.packed_for(plan, batch)
        if self._new < MANY_NEW:
            return self.latest.packed_for(plan, batch, (*self._shapes.values(),))
        self._is_plain = True
        self._shapes.clear()
        return self.latest.unpacked()

    def _bound(self) -> None:
        most = MAX_COPIES * self._bytes
        while len(self._shapes) > MAX_SHAPES or held_bytes(*self._shapes.values()) > most:
            self._shapes.popitem(last=False)


def held_bytes(*networks: TorchNetwork) -> int:
    """Return the size of the networks' weights, each counted once, without a layout's padding."""
    weights = {id(weight): weight for network in networks for weight in network.weights()}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())
