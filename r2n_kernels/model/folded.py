"""The weights of a Res2Net are its modules', and it runs what is packed from them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..config import Res2NetConfig
from ..engine import Backend, TritonOptions, build_backend
from ..errors import ConfigError, KernelError, R2NError
from ..fold.quantization import Quantization
from ..mapped import Mapped, mapped
from ..plan import Plan
from ..reference import Res2Net
from ..tracing import at_trace_time, tracing
from .packed import Packed

logger = logging.getLogger("r2n_kernels.engine")

T = TypeVar("T")
# Where unfolded weights are made: PyTorch's defaults are the surrounding program's.
CANONICAL: Mapping[str, Any] = MappingProxyType({"device": "cpu", "dtype": torch.float32})


class FoldedRes2Net(Res2Net):
    """A FoldedRes2Net has modules under timm's names, and a backend packed from their parameters.

    The parameters are frozen and float32, on `device`; `dtype` is what the backend computes in.
    """

    def __init__(
        self, config: Res2NetConfig, weights: Mapping[str, Tensor], *, has_classifier: bool,
        backend: str, dtype: torch.dtype, device: torch.device | str | None,
        triton: TritonOptions | None, low_memory: bool = False, frozen: bool = False,
        quantization: Quantization | None = None,
    ) -> None:  # fmt: skip
        """Take over `weights`, a canonical state dict that was validated, and pack them."""
        super().__init__(config, device="meta", dtype=torch.float32)
        if not has_classifier:
            self.fc = nn.Identity()
        nn.Module.train(self, False)
        nn.Module.requires_grad_(self, False)
        self.backend_name, self.triton_options = backend, triton
        self.low_memory, self.frozen, self.quantization = low_memory, frozen, quantization
        self.dtype, self.device = dtype, available(device)
        self._start()
        self._take_over(weights)
        if self.device.type != "meta":
            self.refold()

    def _start(self) -> None:
        """Forget what is made of the parameters when it is needed, and is tied to this process."""
        self._packed: Packed | None = None
        self._captured: list[Packed] = []  # CUDA graphs of the user's read their weights
        self._normalizations: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        self._told: set[str] = set()
        self._mapped: Mapped | None = None  # the parameters, where memory is low
        self._lock = threading.RLock()
        self._loads = 0  # begun and ended: odd while weights are being replaced

    def _take_over(self, weights: Mapping[str, Tensor]) -> None:
        with torch.inference_mode(False):  # a model built in it must also run outside
            kept = {
                name: (weights[name].clone() if weights[name].is_inference() else weights[name])
                for name in nn.Module.state_dict(self)
            }
            kept = {name: tensor.to(self.device) for name, tensor in kept.items()}
            if self.low_memory and self.device.type == "cpu":
                self._mapped = mapped(kept)
                kept = self._mapped.tensors
            nn.Module.load_state_dict(self, kept, assign=True)

    @property
    def _backend(self) -> Backend | None:
        """Pack what is stale, and return the backend, or None where faults leave none.

        torch.jit.trace reads all properties before it records, and so takes the weights of then.
        """
        return self._current(lambda packed: None if packed.faults else packed.backend)

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return what a forward pass of [batch, in_chans, height, width] does, step by step.

        Raises ConfigError where a changed module makes the network run without a plan.
        """
        return self._current(lambda packed: packed.backend).plan(batch, height, width)

    def refold(self) -> None:
        """Fold and pack the parameters anew, as is needed after a write through `tensor.data`.

        Raises WeightsError where a folded weight is not finite in `dtype`.
        """
        self._packed = self._pack(self.dtype, self.device)

    def _pack(self, dtype: torch.dtype, device: torch.device, backend: str | None = None) -> Packed:
        def build(config: Res2NetConfig, state: dict[str, Tensor]) -> Backend:
            if backend is not None:
                return build_backend(backend, config, state, dtype, device)
            options = self.triton_options, self.low_memory, self.quantization
            return build_backend(self.backend_name, config, state, dtype, device, *options)

        with torch.inference_mode(False):
            packed = Packed(self, self.config, build)
        if self._mapped is not None:
            self._mapped.page_out()
        return packed

    def _current(self, compute: Callable[[Packed], T]) -> T:
        """Compute with packed weights that are the modules'; a try with older ones is dropped."""
        if tracing():
            by_dynamo = torch.compiler.is_dynamo_compiling()
            if by_dynamo:
                self._pack_for_graph()
            packed = self._packed
            if packed is None or not (by_dynamo or packed.holds_in_graph()):
                raise ConfigError("the weights are not packed: run the model once, then trace it")
            return compute(packed)
        try:
            return self._attempt(compute)
        except KernelError as error:
            if self.backend_name != "auto" or self.quantization is not None or self._int8_blocks:
                raise
            logger.warning("the torch backend takes over: %s", error)
            packed = self._packed = self._pack(self.dtype, self.device, "torch")
            return compute(packed)

    def _attempt(self, compute: Callable[[Packed], T]) -> T:
        packed = self._packed
        if packed is not None and self.frozen and not _capturing(self.device):
            return compute(packed)
        if packed is not None and self._overlaps(packed):
            try:
                result = compute(packed)
            except R2NError:  # perhaps the modules were changed, and it is right now
                if packed.holds():
                    raise
            else:
                if packed.holds():
                    return result
        return compute(self._fresh())

    def _reach(self, packed: Packed) -> tuple[bool, bool]:
        """Return whether the backend's trunk is the network's, and whether its head is."""
        if tracing():
            return self._reach_in_graph()
        if not self.frozen:
            return self._judged(packed)
        if packed.judged is None:
            packed.judged = self._judged(packed)
        return packed.judged

    def _judged(self, packed: Packed) -> tuple[bool, bool]:
        """Look at the modules as `_reach`; a warning says once why a network runs unfused."""
        reason = packed.why_unfused()
        if reason and reason not in self._told:
            self._told.add(reason)
            logger.warning("the network runs module by module, unfused: %s", reason)
        return not reason, packed.runs_head()

    @at_trace_time
    def _pack_for_graph(self) -> None:
        self._fresh()

    @at_trace_time
    def _reach_in_graph(self) -> tuple[bool, bool]:
        assert self._packed is not None  # who asks was given it
        return self._judged(self._packed)

    def _overlaps(self, packed: Packed) -> bool:
        """Return whether the device can work while the modules are looked at."""
        return self.device.type == "cuda" and not (_capturing(self.device) or packed.why_unfused())

    def _fresh(self) -> Packed:
        capturing = _capturing(self.device)
        with self._lock:
            packed = self._packed
            if packed is None or not packed.holds():
                if capturing:
                    raise ConfigError(
                        "run the model once before capturing it in a CUDA graph: its weights "
                        "are not packed"
                    )
                if self.device.type == "meta":
                    raise ConfigError("a model on the meta device has no weights to run with")
                if any(p.is_inference() for p in self.parameters()):
                    self._take_over(nn.Module.state_dict(self))  # their writes cannot be counted
                packed = self._packed = self._pack(self.dtype, self.device)
            if capturing and packed not in self._captured:
                self._captured.append(packed)
            return packed

    @property
    def _int8_blocks(self) -> bool:
        return self.triton_options is not None and self.triton_options.int8 is not None

    def extra_repr(self) -> str:
        packed = self._packed
        name = self.backend_name if packed is None or packed.faults else packed.backend.name
        folded = packed is None or not packed.faults
        quantized = self.quantization is not None and name == "openvino"
        name += " (int8)" if quantized or (self._int8_blocks and folded) else ""
        return f"{self.config}, backend={name}, {self.dtype}, {self.device}"


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def available(device: torch.device | str | None) -> torch.device:
    """Return the device with its index, as "cuda:0". None is the CPU, whatever is default."""
    try:
        return torch.empty(0, device="cpu" if device is None else device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either where there is no GPU
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device '{device}' cannot be used: {reason}") from error
