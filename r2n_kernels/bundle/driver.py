"""Code is loaded and launched through CUDA's driver, by `cuda.bindings`, without Triton."""

from __future__ import annotations

import threading
from typing import Any

import torch

from ..errors import BundleError, KernelError
from ..kernels.targets import TARGETS
from .manifest import Code
from .ops import Kernel, StoredCall
from .source import Bundle

STATIC = 48 << 10  # bytes of shared memory that a launch may have without asking (CUDA's guide)


def cuda_driver() -> Any:
    """Import CUDA's driver API. Raises BundleError where cuda.bindings is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise BundleError(
            f"a bundle is launched through cuda.bindings: {error}; newer torch for CUDA brings it, "
            "else pip install cuda-bindings"
        ) from error
    return driver


def checked(driver: Any, answer: tuple[Any, ...], what: str) -> Any:
    """Return what a call of the driver gave. Raises KernelError with the driver's own words."""
    status, *values = answer
    if status != driver.CUresult.CUDA_SUCCESS:
        raise KernelError(f"{what}: the driver says {status.name} ({int(status)})")
    return values[0] if values else None


class CudaKernel(Kernel):
    """A CudaKernel is a bundle's code on one device, loaded when it is first needed."""

    def __init__(self, code: Code, bundle: Bundle, device: torch.device) -> None:
        super().__init__(code)
        self._bundle, self._device = bundle, device
        self._threads = TARGETS[code.target].warp_size * code.warps
        self._driver, self._function, self._lock = cuda_driver(), None, threading.Lock()

    def load(self) -> None:
        with self._lock:
            if self._function is None:
                self._function = self._loaded()

    def _loaded(self) -> Any:
        code, driver = self.code, self._driver
        cubin = self._bundle.file.data(code.cubin)
        module = checked(driver, driver.cuModuleLoadData(cubin), code.entry)
        function = checked(
            driver, driver.cuModuleGetFunction(module, code.entry.encode()), code.entry
        )
        kind = driver.CUfunction_attribute
        if code.shared > STATIC:
            limit = kind.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            more = driver.CUfunc_cache.CU_FUNC_CACHE_PREFER_SHARED  # as Triton's loader prefers
            checked(driver, driver.cuFuncSetCacheConfig(function, more), code.entry)
            checked(driver, driver.cuFuncSetAttribute(function, limit, code.shared), code.entry)
        # a question makes a driver load code that it would else load at the first launch
        count = driver.cuFuncGetAttribute(kind.CU_FUNC_ATTRIBUTE_NUM_REGS, function)
        checked(driver, count, code.entry)
        return function

    def launch(self, call: StoredCall) -> None:
        self.load()
        cuda = self._device.type == "cuda"
        stream = torch.cuda.current_stream(self._device).cuda_stream if cuda else 0
        answer = self._driver.cuLaunchKernel(
            self._function, call.grid, 1, 1, self._threads, 1, 1, self.code.shared,
            stream, call.packed.address, 0,
        )  # fmt: skip
        checked(self._driver, answer, self.code.entry)


def ready(device: torch.device) -> None:
    """Make the device's context this thread's, as CUDA's runtime does only when it is used.

    Raises KernelError.
    """
    driver, what = cuda_driver(), f"device {device}"
    if int(checked(driver, driver.cuCtxGetCurrent(), what)) == 0:
        context = checked(driver, driver.cuDevicePrimaryCtxRetain(device.index or 0), what)
        checked(driver, driver.cuCtxSetCurrent(context), what)
