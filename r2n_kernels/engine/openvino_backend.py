"""The OpenVINO backend runs the folded network on a CPU, compiled by Intel's OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import MIN_SIZE, Res2NetConfig
from ..errors import ConfigError
from ..fold import fold
from ..fold.quantization import Quantization, Range
from ..plan import Plan, cached_plan
from ..tracing import at_trace_time, outside_modes, tracing
from .backend import Normalization
from .looks import looks
from .openvino_compile import unsupported
from .openvino_graph import ANY, GraphInput, build_graph, weights_by_step
from .openvino_networks import Networks
from .openvino_options import OpenVinoOptions
from .openvino_quantized import INPUT, check_ranges
from .overflow import growths
from .torch_backend import TorchBackend


class OpenVinoBackend:
    """This `Backend` has networks that OpenVINO compiled, and the torch backend beside them.

    That one runs a pass again where NaN, or a sum that overflows, might be hidden by a fused ReLU,
    and is what PyTorch's graphs hold. It is made when it is needed first.
    """

    name = "openvino"
    own_kernels = False

    def __init__(
        self, config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype,
        device: torch.device, options: OpenVinoOptions | None = None,
        quantization: Quantization | None = None,
    ) -> None:  # fmt: skip
        """Fold `state`, which is canonical. Raises ConfigError for what OpenVINO cannot run.

        quantization: of these weights, for int8; WeightsError where it is of others.
        """
        if reason := unsupported(dtype, device):
            raise ConfigError(f"backend 'openvino': {reason}")
        self.config, self.dtype, self.device = config, dtype, device
        self._state = state  # the modules' own memory, not a copy
        folded = fold(config, state, torch.float32)
        weights = weights_by_step(folded, state)
        places = looks(growths(folded))
        behind = places[1:]
        ranges: Mapping[str, Range] = {}
        if quantization is not None:
            fitting = quantization.fitting(state)
            weights, ranges = fitting.applied(weights), fitting.ranges
            steps = cached_plan(config, 1, MIN_SIZE, MIN_SIZE, dtype, self.name).steps
            whole = GraphInput((ANY, MIN_SIZE, MIN_SIZE, config.in_chans))
            check_ranges(build_graph(weights, steps, whole, steps[-1].writes, ()), ranges)
            if INPUT in ranges:  # behind clamped images sums are no larger than calibration's
                behind = ()
        self._networks = Networks(weights, dtype, behind, options or OpenVinoOptions(), ranges)
        self._input_limit = places[0].limit
        self._torch: TorchBackend | None = None

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return the plan; while tracing that of the torch backend, whose plain network it is."""
        if tracing():
            return cached_plan(self.config, 1, MIN_SIZE, MIN_SIZE, self.dtype)
        return cached_plan(self.config, batch, height, width, self.dtype, self.name)

    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        """Do nothing: what is compiled depends on the outputs that are wanted, too."""

    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Run parts of the batch on OpenVINO's streams, or the batch on all of its threads."""
        if tracing():
            self._make_torch()
            assert self._torch is not None
            return self._torch.run(plan, x, wanted, normalization)
        names = tuple(dict.fromkeys(wanted))
        found = self._run(plan, x, names, normalization)
        if found is None:
            self._make_torch()
            assert self._torch is not None
            again = cached_plan(self.config, plan.batch, plan.height, plan.width, self.dtype)
            return self._torch.run(again, x, wanted, normalization)
        by_name = dict(zip(names, found, strict=True))
        return [by_name[name] for name in wanted]

    def _run(
        self, plan: Plan, x: Tensor, names: tuple[str, ...], normalization: Normalization | None
    ) -> list[Tensor] | None:
        """Return the outputs, or None where something may have overflowed, or was NaN."""
        images = _images(x)
        if not _magnitude(images, normalization) <= self._input_limit:
            return None
        network = self._networks.for_pass(plan, names, normalization)
        limits = np.array([look.limit for look in self._networks.seen(plan, names)], np.float64)
        parts, size = network.parts(plan.batch)
        seen = np.empty((parts, len(limits)), np.float32)
        outputs = [_rows(plan.buffers[name].shape, parts * size) for name in names]
        network.run(images, outputs, seen)
        if not (seen <= limits).all():
            return None
        return [_tensor(output, plan.batch).to(self.dtype) for output in outputs]

    @at_trace_time
    def _make_torch(self) -> None:
        """Make the torch backend of the same weights, with real numbers whoever traces."""
        if self._torch is None:
            with outside_modes():
                self._torch = TorchBackend(self.config, self._state, self.dtype, self.device)


def _images(x: Tensor) -> np.ndarray:
    """Return x [N, Ci, H, W] as it lies in memory, mostly: [N, H, W, Ci], floats as float32.

    By NumPy: PyTorch's threads, once woken, spin for milliseconds on the cores of OpenVINO's.
    """
    x = x.permute(0, 2, 3, 1)
    if x.dtype == torch.bfloat16:  # the upper half of a float32
        wide = x.view(torch.uint16).numpy().astype(np.uint32, order="C")
        return np.left_shift(wide, 16, out=wide).view(np.float32)
    return np.ascontiguousarray(x.numpy())


def _magnitude(images: np.ndarray, normalization: Normalization | None) -> float:
    """Return the largest magnitude that the network may read; NaN where an image has one."""
    if normalization is None:
        return float(np.maximum(-images.min(), images.max()))
    scale, shift = normalization
    return torch.maximum(shift.abs(), (255 * scale + shift).abs()).max().item()


def _rows(shape: tuple[int, ...], rows: int) -> np.ndarray:
    """Return room for so many rows of a buffer [N, C] or, as [N, H, W, C], of [N, C, H, W]."""
    channels, *size = shape[1:]
    return np.empty((rows, *size, channels), np.float32)


def _tensor(rows: np.ndarray, count: int) -> Tensor:
    tensor = torch.from_numpy(rows)[:count]
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
