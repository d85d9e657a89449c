"""This file gives the bytes of a numpy array or CPU tensor, which a launch reads and writes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .errors import EmulationError
from .types import Array

TRITON = {  # Triton's names of dtypes that torch and numpy name otherwise
    "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64", "bool": "i1",
    "float8_e4m3fn": "fp8e4nv", "float8_e5m2": "fp8e5", "float8_e4m3fnuz": "fp8e4b8",
    "float8_e5m2fnuz": "fp8e5b16",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"u{bits}" for bits in (8, 16, 32, 64)},
}  # fmt: skip


def is_array(value: Any) -> bool:
    """Return whether a value lies in memory; numpy's scalars do not, though they have a shape."""
    return (hasattr(value, "data_ptr") or hasattr(value, "shape")) and not isinstance(
        value, np.generic
    )


def bytes_of(array: Any) -> tuple[Array, int]:
    """Return an array's bytes, sharing its memory, and the place of its first element in them.

    Of a strided one they are also those between its elements: strides are the kernel's business.
    Raises EmulationError for a tensor on a device.
    """
    if hasattr(array, "data_ptr"):
        tensor = array if hasattr(array, "numel") else array.base  # Triton's, of another dtype
        if tensor.device.type != "cpu":
            raise EmulationError(f"tensors must be on the CPU, got device {tensor.device}")
        size, start, shape = tensor.element_size(), tensor.data_ptr(), tensor.shape
        strides = [stride * size for stride in tensor.stride()]
    else:
        size, start, shape = array.itemsize, array.ctypes.data, array.shape
        strides = list(array.strides)
    if 0 in shape:
        return np.zeros(0, np.uint8), 0
    reach = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    first = -sum(step for step in reach if step < 0)
    # without importing torch: its bytes as numpy sees them
    pointer = ctypes.cast(start - first, ctypes.POINTER(ctypes.c_uint8))
    return np.ctypeslib.as_array(pointer, (size + sum(abs(step) for step in reach),)), first


def dtype_name(array: Any) -> str:
    """Return Triton's name of an array's dtype, as "fp16"."""
    name = str(array.dtype).rpartition(".")[2]
    return TRITON.get(name, name)


def item_size(array: Any) -> int:
    """Return the bytes of an element."""
    return array.element_size() if hasattr(array, "data_ptr") else array.itemsize
