"""A stand-in for Triton's driver: it names an emulated device, whose launches the emulator runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .launcher import Launcher

if TYPE_CHECKING:
    from .context import Emulation


class Utils:
    """Utils answer what Triton asks of the loaded driver."""

    def __init__(self, emulation: Emulation) -> None:
        self._emulation = emulation

    def get_device_properties(self, device: Any = None) -> dict[str, Any]:
        return self._emulation.device.properties()

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return self._emulation.device.capability

    def load_binary(
        self, name: str, binary: bytes, shared: int, device: Any
    ) -> tuple[None, None, int, int, int]:
        """Return module, function, registers, spills, most threads; the launcher has the code.

        No module: Triton would ask a driver to unload it when the kernel goes, maybe without any.
        """
        return None, None, 0, 0, 1024

    def set_printf_fifo_size(self, size: int) -> None:
        """Do nothing: what a kernel prints is not buffered."""


class Driver:
    """A Driver is what `triton.runtime.driver.active` is while an emulation is open."""

    launcher_cls = Launcher

    def __init__(self, emulation: Emulation) -> None:
        self.emulation, self.utils = emulation, Utils(emulation)

    @classmethod
    def is_active(cls) -> bool:
        return True

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.emulation.device.arch, 32)

    def get_current_device(self) -> int:
        """Return the architecture: Triton keeps what it compiled by the device's number."""
        return self.emulation.device.arch

    def set_current_device(self, device: Any) -> None:
        """Do nothing: there is one."""

    def get_current_stream(self, device: Any = None) -> int:
        return 0

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return self.emulation.device.capability

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cuda", 0) if self.emulation.cuda_as_cpu else torch.device("cpu")

    def get_device_interface(self) -> Any:
        """Return torch.cuda, or as much of it as a benchmark needs."""
        import torch

        from .cuda import Event, Stream

        if self.emulation.cuda_as_cpu:
            return torch.cuda
        nothing = lambda *args: None  # noqa: E731
        return SimpleNamespace(Event=Event, Stream=Stream, synchronize=nothing)

    def get_benchmarker(self) -> Callable[..., Sequence[float]]:
        return run_once

    def get_empty_cache_for_benchmark(self) -> None:
        """Return nothing: there is no cache to be cleared."""

    def clear_cache(self, cache: None) -> None:
        """Do nothing."""

    def map_python_to_cpp_type(self, ty: str) -> str:
        from triton.backends.nvidia.driver import ty_to_cpp

        return ty_to_cpp(ty)


def run_once(call: Callable[[], Any], quantiles: Sequence[float] | None = None, **how: Any) -> Any:
    """Run what is to be timed, and tell no time: every candidate is as fast as the others."""
    call()
    return [1.0] * len(quantiles) if quantiles else 1.0


@contextmanager
def active(driver: Driver) -> Iterator[None]:
    """Put a driver in the place of Triton's, for the whole process, and put that back."""
    from triton.runtime import driver as config

    name = "_active" if "_active" in vars(config) else "active"  # Triton 3.4 has the latter
    before = vars(config)[name]
    config.set_active(driver)
    try:
        yield
    finally:
        setattr(config, name, before)
