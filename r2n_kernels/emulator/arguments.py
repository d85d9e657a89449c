"""What a launch is given is checked here: a wrong argument makes wrong numbers and no error."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import dtype_name, is_array
from .errors import ArgumentError
from .tensormaps import TensorMap
from .types import FLOAT, UINT, to_bf16, type_bits

if TYPE_CHECKING:
    from .kernel import Kernel

SCRATCH = 2  # parameters that Triton adds behind a kernel's own: scratch memory, and a profiler's
LIMITS = (2**31 - 1, 65535, 65535)  # of a grid, by axis
# What also holds a dtype's bits: numpy lacks some, and torch once did
RAW = {
    "bf16": ("u16",), "i1": ("u1", "i8", "u8"), "u1": ("i1", "i8", "u8"),
    **dict.fromkeys(("fp8e4nv", "fp8e5", "fp8e4b8", "fp8e5b16", "fp8e4b15"), ("u8", "i8")),
}  # fmt: skip
FLOATS = ("fp16", "bf16", "fp32", "f32", "fp64")
Grid = int | Sequence[int] | Callable[[Mapping[str, Any]], Any]


def checked_grid(grid: Grid, meta: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return a grid as three sizes. meta: the arguments by name, for a function.

    Raises ArgumentError.
    """
    given: Any = grid(meta) if callable(grid) else grid
    try:
        axes = [operator.index(n) for n in (given if isinstance(given, (tuple, list)) else [given])]
    except TypeError as error:
        raise ArgumentError(f"a grid is one to three integers, got {given!r}") from error
    if not 1 <= len(axes) <= 3:
        raise ArgumentError(f"a grid is one to three integers, got {len(axes)}: {given!r}")
    x, y, z = (*axes, *(1,) * (3 - len(axes)))
    for axis, n, limit in zip("xyz", (x, y, z), LIMITS, strict=True):
        if not 0 <= n <= limit:
            raise ArgumentError(f"a grid has 0 to {limit} programs along {axis}, got {given!r}")
    return x, y, z


def checked_places(ctas: Sequence[int] | None, grid: tuple[int, int, int]) -> Sequence[int]:
    """Return the programs that are to run. Raises ArgumentError for one that the grid lacks."""
    total = prod(grid)
    for place in ctas or ():
        if not 0 <= place < total:
            raise ArgumentError(f"the grid {grid} has places 0 to {total - 1}, got {place}")
    return range(total) if ctas is None else ctas


def checked_arguments(kernel: Kernel, args: Sequence[Any]) -> list[Any]:
    """Return arrays, tensor maps and the bits of numbers, in the order of the kernel's parameters.

    Raises ArgumentError.
    """
    params, names, types = kernel.program.params, kernel.given, kernel.types
    checked_count(names, len(args), params)
    checked_scratch(names, args)
    return [
        value
        if isinstance(value, TensorMap)
        else checked_value(kernel.names[i], params[i][1], types[i] if i < len(types) else "", value)
        for i, value in enumerate(args)
    ]


def checked_count(names: Sequence[str], given: int, params: Sequence[tuple[str, str]]) -> None:
    """Raise ArgumentError unless `given` arguments are what a kernel takes.

    names: of its own arguments, where they are known; params: of the PTX, with Triton's own last.
    """
    most, own = len(params), len(names)
    if given > most:
        raise ArgumentError(
            f"{given} arguments for {own or most} parameters ({_listed(names, params)}); "
            "constexprs are compiled in, and not given again"
        )
    missing = params[given:]
    if names and given < own:
        raise ArgumentError(
            f"{given} arguments for {own} parameters: {', '.join(names[given:])} missing"
        )
    if not names and (len(missing) > SCRATCH or any(type_bits(t) != 64 for _, t in missing)):
        raise ArgumentError(
            f"{given} arguments for {most} parameters ({_listed(names, params)}), of which only "
            f"the last {SCRATCH}, pointers to scratch memory, may be left out"
        )


def checked_scratch(names: Sequence[str], args: Sequence[Any]) -> None:
    """Raise ArgumentError where what follows a kernel's own arguments is no scratch memory."""
    for value in args[len(names) :] if names else ():
        if value is not None and not is_array(value):
            raise ArgumentError(
                f"{len(args)} arguments for {len(names)} parameters ({', '.join(names)}): "
                f"{value!r} is too many; constexprs are compiled in, and not given again"
            )


def _listed(names: Sequence[str], params: Sequence[tuple[str, str]]) -> str:
    return ", ".join(names or [name for name, _ in params])


def checked_value(name: str, ptx: str, kind: str, value: Any) -> Any:
    """Return an argument as it is passed: an array, or a number's bits. Raises ArgumentError.

    ptx: the type in the PTX, as "u64"; kind: Triton's, as "*fp16" or "i32", empty if unknown.
    """
    bits = type_bits(ptx)
    if kind.startswith("*") or (not kind and bits == 64 and (value is None or is_array(value))):
        return _pointer(name, kind, value)
    number = _number(name, kind or ptx, value)
    if kind in FLOATS or (not kind and ptx.startswith("f")):
        return _float_bits(kind, bits, float(number))
    if isinstance(number, float):
        if not kind and ptx == "b16":  # fp16 and bf16 alike
            raise ArgumentError(f"{name} is a float of 16 bits of unknown format: give its bits")
        raise ArgumentError(f"{name} is an integer ({kind or ptx}), got {value!r}")
    low = -(1 << bits - 1) if not kind.startswith("u") else 0
    high = 1 << (bits - 1 if kind.startswith("i") and kind != "i1" else bits)
    if not low <= number < high:
        raise ArgumentError(f"{name} is {kind or ptx}, which cannot hold {value!r}")
    return number & ((1 << bits) - 1)


def _pointer(name: str, kind: str, value: Any) -> Any:
    if value is None:
        return 0
    if not is_array(value):
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return int(value) & (1 << 64) - 1  # an address
        raise ArgumentError(f"{name} is a pointer ({kind}), got {value!r}")
    wanted, found = kind.removeprefix("*").removeprefix("k"), dtype_name(value)
    if wanted and found != wanted and found not in RAW.get(wanted, ()):
        raise ArgumentError(f"{name} points to {wanted}, got an array of {found} ({value.dtype})")
    return value


def _number(name: str, kind: str, value: Any) -> int | float:
    """Return a scalar as Python has it: also numpy's, and an array of no dimensions."""
    if hasattr(value, "item") and getattr(value, "shape", None) in ((), None):
        value = value.item()
    if isinstance(value, (bool, int, float)):
        return value
    what = f"an array of shape {list(value.shape)}" if is_array(value) else repr(value)
    raise ArgumentError(f"{name} is a number ({kind}), got {what}")


def _float_bits(kind: str, bits: int, number: float) -> int:
    with np.errstate(over="ignore"):
        if kind == "bf16":
            return int(to_bf16(np.array(number, np.float32)).item())
        return int(np.array(number, FLOAT[bits]).view(UINT[bits]))
