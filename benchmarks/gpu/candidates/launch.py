"""Compiled candidates are launched on a GPU by its driver, or in the emulator."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

INTS = {32: ctypes.c_int32, 64: ctypes.c_int64}


class OnGpu:
    """An OnGpu launches a cubin on the current GPU. Raises RuntimeError if the driver refuses."""

    def __init__(self, folder: Path, item: Mapping[str, Any]) -> None:
        from cuda.bindings import driver

        self.driver, self.item = driver, item
        cubin = (folder / f"{item['file']}.cubin").read_bytes()
        self.module = self._ask(driver.cuModuleLoadData(cubin))
        self.function = self._ask(driver.cuModuleGetFunction(self.module, item["entry"].encode()))
        kind, shared = driver.CUfunction_attribute, item["shared"]
        dynamic = kind.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self._ask(driver.cuFuncSetAttribute(self.function, dynamic, shared))
        self.registers = self._ask(
            driver.cuFuncGetAttribute(kind.CU_FUNC_ATTRIBUTE_NUM_REGS, self.function)
        )
        self.ctas = self._ask(
            driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                self.function, 32 * item["warps"], shared
            )
        )

    def __call__(self, grid: int, values: Sequence[Tensor | int]) -> None:
        plain = [v.data_ptr() if isinstance(v, Tensor) else v for v in values]
        bits = self.item["bits"]
        plain += [0] * (len(bits) - len(plain))  # pointers to scratch, which no kernel here uses
        types = tuple(INTS[b] for b in bits)
        stream = torch.cuda.current_stream().cuda_stream
        self._ask(
            self.driver.cuLaunchKernel(
                self.function, grid, 1, 1, 32 * self.item["warps"], 1, 1, self.item["shared"],
                stream, (tuple(plain), types), 0,
            )
        )  # fmt: skip

    def _ask(self, answer: tuple[Any, ...]) -> Any:
        code, *values = answer
        if int(code):
            raise RuntimeError(f"{code.name} for {self.item['candidate']['name']}")
        return values[0] if values else None


class InEmulator:
    """An InEmulator runs the same candidate from its PTX, on the CPU."""

    registers = ctas = None

    def __init__(self, folder: Path, item: Mapping[str, Any]) -> None:
        from ....emulator import Kernel

        ptx = (folder / f"{item['file']}.ptx").read_text(encoding="utf-8")
        self.kernel = Kernel(ptx, item["shared"], item["warps"])

    def __call__(self, grid: int, values: Sequence[Tensor | int]) -> None:
        self.kernel.run((grid,), values)
