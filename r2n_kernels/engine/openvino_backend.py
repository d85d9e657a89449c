"""The OpenVINO backend runs the folded network on a CPU, compiled by Intel's OpenVINO."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import MIN_SIZE, Res2NetConfig
from ..errors import ConfigError
from ..fold import fold
from ..fold.quantization import Quantization, Range
from ..plan import Plan, cached_plan
from ..tracing import at_trace_time, tracing, unrecorded
from .backend import Normalization
from .cpu_streams import CpuStreams
from .looks import looks
from .openvino_compile import forked, unsupported
from .openvino_graph import ANY, GraphInput, build_graph
from .openvino_networks import Networks
from .openvino_quantized import check_ranges
from .overflow import growths
from .torch_backend import TorchBackend
from .torch_head import Pass, TorchHead

logger = logging.getLogger("r2n_kernels.engine")


class OpenVinoBackend:
    """This `Backend` has trunks that OpenVINO compiled, and PyTorch's head behind them.

    OpenVINO's ReLU may hide NaN, and a sum that overflows: the torch backend runs such images
    again. It also is what PyTorch's graphs hold, and is made when it is needed first.
    """

    name = "openvino"
    own_kernels = False

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
        device: torch.device, low_memory: bool = False, quantization: Quantization | None = None,
    ) -> None:  # fmt: skip
        """Fold `state`, which is canonical. Raises ConfigError for what OpenVINO cannot run.

        quantization: of these weights, for int8; WeightsError where it is of others.
        """
        if reason := unsupported(dtype, device):
            raise ConfigError(f"backend 'openvino': {reason}")
        self.config, self.dtype, self.device = config, dtype, device
        self._state = state  # the modules' own memory, not a copy
        self._any_size = cached_plan(config, 1, MIN_SIZE, MIN_SIZE, dtype)
        folded = fold(config, state, torch.float32)
        weights = folded.by_step()
        first, *behind = looks(growths(folded))
        ranges: Mapping[str, Range] = {}
        if quantization is not None:
            quantization.check(state)
            weights, ranges = quantization.applied(weights), quantization.ranges
            trunk = Pass.of(self._any_size.steps, [self._any_size.features[-1]])
            whole = GraphInput((ANY, MIN_SIZE, MIN_SIZE, config.in_chans))
            check_ranges(build_graph(weights, trunk.trunk, whole, trunk.maps, ()), ranges)
            convs = {conv.name for step in weights.values() for conv in step}
            if convs <= quantization.scales.keys():  # they read clamped values: no sum overflows
                behind = []
        self._input_limit = first.limit
        self._networks = Networks(weights, dtype, behind, low_memory, ranges)
        self._head, self._threads = TorchHead(config, state, device), CpuStreams()
        self._quantized, self._lock = quantization is not None, threading.Lock()
        self._told = os.getpid()  # the process that knows whether it is a fork
        self._passes: dict[tuple[str, ...], Pass] = {}  # by what is wanted: few kinds
        self._torch: TorchBackend | None = None

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return the plan; while tracing that of the torch backend, whose plain network it is."""
        if tracing():
            return self._any_size
        name = "torch" if forked() else self.name
        return cached_plan(self.config, batch, height, width, self.dtype, name)

    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        """Do nothing: what is compiled depends on the outputs that are wanted, too."""

    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Run the trunk by OpenVINO, images that it may not run by PyTorch, and the head on all."""
        if tracing():
            return self._exact().run(plan, x, wanted, normalization)
        if forked():
            self._tell_of_fork()
            return self._exact().run(plan, x, wanted, normalization)
        what = self._pass(plan, tuple(wanted))
        outputs, good = self._trunk(plan, what, x, normalization)
        if not good.all():
            self._repair(outputs, torch.from_numpy(~good), plan, what, x, normalization)
        return self._threads.alone(lambda: self._finish(what, outputs, wanted))

    @torch.no_grad()  # the thread that runs it has not the caller's mode
    def _finish(self, what: Pass, maps: Sequence[Tensor], wanted: Sequence[str]) -> list[Tensor]:
        found = {name: y.to(self.dtype) for name, y in zip(what.maps, maps, strict=True)}
        live = self._head.run(what.head, found)
        return [live[name] for name in wanted]

    def _pass(self, plan: Plan, wanted: tuple[str, ...]) -> Pass:
        """Return what there is to run, which is the same for all sizes."""
        if wanted not in self._passes:
            self._passes[wanted] = Pass.of(plan.steps_for(wanted), wanted)
        return self._passes[wanted]

    def _trunk(
        self, plan: Plan, what: Pass, x: Tensor, normalization: Normalization | None
    ) -> tuple[list[Tensor], np.ndarray]:
        """Return float32 maps, channels_last, and of which images they are right, [N]."""
        network = self._networks.for_pass(plan, what, normalization)
        images, rows = _images(x), network.rows(plan.batch)
        shapes = [plan.buffers[name].shape for name in what.maps]
        maps = [np.empty((rows, *size, channels), np.float32) for _, channels, *size in shapes]
        limits = [look.limit for look in self._networks.looks_at(what.trunk)]
        seen = np.empty((rows, len(limits)), np.float32)
        network.run(images, [*maps, seen] if limits else maps)
        good = (seen[: plan.batch] <= np.array(limits)).all(axis=1)
        good &= _magnitudes(images, normalization) <= self._input_limit
        return [torch.from_numpy(y[: plan.batch]).permute(0, 3, 1, 2) for y in maps], good

    def _repair(
        self, maps: Sequence[Tensor], bad: Tensor, plan: Plan, what: Pass, x: Tensor,
        normalization: Normalization | None,
    ) -> None:  # fmt: skip
        """Compute the maps of bad images by PyTorch, which passes NaN on."""
        count = int(bad.sum())
        again = cached_plan(self.config, count, plan.height, plan.width, self.dtype)
        found = self._exact().run(again, x[bad], what.maps, normalization)
        for y, right in zip(maps, found, strict=True):
            y[bad] = right.float()

    def _tell_of_fork(self) -> None:
        """Warn once that PyTorch runs here, or raise ConfigError where that would not be int8."""
        reason = unsupported(self.dtype, self.device)
        if self._quantized:
            raise ConfigError(f"the weights are quantized for OpenVINO. {reason}")
        if self._told != os.getpid():
            self._told = os.getpid()
            logger.warning("the torch backend takes over: %s", reason)

    def _exact(self) -> TorchBackend:
        self._make_torch()
        assert self._torch is not None
        return self._torch

    @at_trace_time
    def _make_torch(self) -> None:
        """Make the torch backend of the same weights."""
        with self._lock:
            if self._torch is None:
                what = self.config, self._state, self.dtype, self.device
                self._torch = unrecorded(lambda: TorchBackend(*what))


def _images(x: Tensor) -> np.ndarray:
    """Return x [N, Ci, H, W] as it lies in memory, mostly: [N, H, W, Ci], floats as float32.

    By NumPy: PyTorch's threads, once woken, spin for milliseconds on the cores of OpenVINO's.
    """
    x = x.permute(0, 2, 3, 1)
    if x.dtype == torch.bfloat16:  # the upper half of a float32
        wide = x.view(torch.uint16).numpy().astype(np.uint32, order="C")
        return np.left_shift(wide, 16, out=wide).view(np.float32)
    return np.ascontiguousarray(x.numpy())


def _magnitudes(images: np.ndarray, normalization: Normalization | None) -> np.ndarray:
    """Return the largest magnitude that the network reads of each image, [N]; NaN for NaN."""
    if normalization is None:
        rows = images.reshape(len(images), -1)
        return np.maximum(-rows.min(axis=1), rows.max(axis=1))
    scale, shift = normalization
    largest = torch.maximum(shift.abs(), (255 * scale + shift).abs()).max().item()
    return np.full(len(images), largest, np.float32)
