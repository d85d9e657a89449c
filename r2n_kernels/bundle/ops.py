"""Stored launches are what a launcher's calls were, as data; calls are made of them again.

A launch names its step's tensors as the launcher does ("x", "w", ...), so alike steps share one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import BundleError
from ..kernels.call import Call, Calls
from ..kernels.op import Faults, Op
from .manifest import GRID, POINTER, WIDTHS, Code

FORMS = ("contiguous", "channels_last", "bytes")  # of an input that code is compiled for
ALIGNED = 16  # bytes: addresses of tensors are compiled as multiples of it
SLOT = 8  # bytes for each parameter: CUDA reads as many as the code declares, little end first
Place = tuple[str, int, int]  # a tensor's name, first element, elements


@dataclass(frozen=True)
class StoredLaunch:
    """A launch of `code` has numbers, and where its tensors lie, by parameter."""

    code: Code
    grid: int
    args: Mapping[str, Place | int]

    def __post_init__(self) -> None:
        if type(self.grid) is not int or not 1 <= self.grid <= GRID:
            raise ValueError(f"a grid of {self.grid} CTAs, 1 to {GRID:,} are possible")
        named = [name for name, _ in self.code.parameters if name]
        if set(named) != set(self.args) or len(named) != len(self.args):
            raise ValueError(f"arguments {sorted(self.args)} of {self.code.entry}")
        kinds = dict(self.code.parameters)
        for name, value in self.args.items():
            if (kinds[name] == POINTER) < isinstance(value, tuple):
                raise ValueError(f"a tensor for the number '{name}'")
            for number in value[1:] if isinstance(value, tuple) else (value,):
                if type(number) is not int or abs(number) >= 2 ** (8 * WIDTHS[kinds[name]] - 1):
                    raise ValueError(f"argument '{name}': {number!r}")

    def call(self, kernel: Kernel, tensors: Mapping[str, Tensor | None]) -> StoredCall:
        """Return the call on these tensors. Raises BundleError where it leaves one of them."""
        args = {
            name: _part(self.code.entry, tensors, *value) if isinstance(value, tuple) else value
            for name, value in self.args.items()
        }
        return StoredCall(kernel, self.grid, args, {}, self.code.warps)

    def encode(self) -> dict[str, Any]:
        args = {k: list(v) if isinstance(v, tuple) else v for k, v in self.args.items()}
        return {"code": self.code.key, "grid": self.grid, "args": args}

    @staticmethod
    def decode(data: Mapping[str, Any], codes: Mapping[str, Code]) -> StoredLaunch:
        """Invert `encode`. Raises KeyError, TypeError, ValueError for anything else."""
        args = {k: _place(v) if isinstance(v, list) else v for k, v in data["args"].items()}
        return StoredLaunch(codes[data["code"]], data["grid"], args)


def placed(
    call: Call, names: Sequence[str], tensors: Mapping[str, Tensor | None]
) -> dict[str, Place | int]:
    """Return a launcher's arguments of these names, as `StoredLaunch` has them.

    tensors: what the launcher was given; on the meta device, too.
    """
    args = {name: call.args[name] for name in names}
    return {k: _found(v, tensors) if isinstance(v, Tensor) else v for k, v in args.items()}


def _found(tensor: Tensor, tensors: Mapping[str, Tensor | None]) -> Place:
    """Return which of the tensors this one is a part of, and where."""
    for name, whole in tensors.items():
        if whole is None or whole.untyped_storage()._cdata != tensor.untyped_storage()._cdata:
            continue
        start = tensor.storage_offset() - whole.storage_offset()
        return name, int(start), span(tensor)
    raise ValueError("a launch has a tensor that its launcher was not given")


def span(tensor: Tensor) -> int:
    """Count the elements from the first to the last one."""
    if not tensor.numel():
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def _part(
    entry: str, tensors: Mapping[str, Tensor | None], name: str, start: int, size: int
) -> Tensor:
    whole = tensors.get(name)
    if whole is None or start < 0 or size < 0 or start + size > span(whole):
        raise BundleError(f"{entry} leaves its tensor '{name}'")
    return whole.as_strided((size,), (1,), whole.storage_offset() + start)


def _place(value: Sequence[Any]) -> Place:
    name, start, size = value
    return str(name), start, size


class Parameters:
    """Parameters of a launch are as the driver takes them: an array of pointers to values."""

    def __init__(self, values: Sequence[int], count: int) -> None:
        """Take values, fewer than `count`: the others are 0."""
        self._values = (ctypes.c_uint64 * count)(*(v & (2**64 - 1) for v in values))
        start = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * count)(*(start + SLOT * i for i in range(count)))
        self.address = ctypes.addressof(self._pointers)


class Kernel:
    """A Kernel is code that can be launched: subclasses load it, or emulate it."""

    def __init__(self, code: Code) -> None:
        self.code = code

    @property
    def __name__(self) -> str:
        return self.code.entry

    def load(self) -> None:
        """Make it ready to be launched. Raises KernelError."""
        raise NotImplementedError

    def launch(self, call: StoredCall) -> None:
        """Launch on the current device and stream. Raises KernelError."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class StoredCall(Call):
    """It launches a bundle's code. `kernel` is a `Kernel`; what was constant is in its code."""

    @property
    def arguments(self) -> list[Tensor | int]:
        """Return the arguments in the order of the parameters, but for Triton's own."""
        return [self.args[name] for name, _ in self.kernel.code.parameters if name]

    @cached_property
    def packed(self) -> Parameters:
        """Return the arguments as the driver takes them, made once: launches are repeated."""
        values = [a if isinstance(a, int) else a.data_ptr() for a in self.arguments]
        return Parameters(values, len(self.kernel.code.parameters))

    def launch(self) -> None:
        self.kernel.launch(self)

    def compile(self) -> None:
        self.kernel.load()


def form_of(x: Tensor) -> str | None:
    """Return the one of FORMS that an input [N, Ci, H, W] has; None where it must be copied."""
    if x.dtype == torch.uint8:
        fits = x.permute(0, 2, 3, 1).is_contiguous()
        return FORMS[2] if fits and x.data_ptr() % ALIGNED == 0 else None
    if x.data_ptr() % ALIGNED:
        return None
    if x.is_contiguous():
        return FORMS[0]
    return FORMS[1] if x.is_contiguous(memory_format=torch.channels_last) else None


def fitted(x: Tensor) -> Tensor:
    """Return x, copied where it has none of FORMS."""
    if form_of(x) is not None:
        return x
    x = x.clone(memory_format=torch.preserve_format)  # aligned
    if form_of(x) is not None:
        return x
    by_bytes = x.dtype == torch.uint8
    return x.contiguous(memory_format=torch.channels_last if by_bytes else torch.contiguous_format)


@dataclass(frozen=True)
class OpFacts:
    """OpFacts are what `Op` knows of a kernel, apart from its launcher and contract."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    weights: tuple[str, ...]
    kernel_options: tuple[str, ...]

    @staticmethod
    def of(op: Op) -> OpFacts:
        return OpFacts(op.reads, op.writes, op.weights, op.kernel_options)

    def op(
        self, launches: Mapping[str, Sequence[StoredLaunch]], kernel_of: Callable[[Code], Kernel]
    ) -> Op:
        """Return an op whose launcher makes calls of these launches.

        launches: by the input's form for the step that reads it; under "" for any other.
        """

        def launcher(**given: Any) -> Calls:
            form = "" if "" in launches else form_of(given[self.reads[0]])
            if form is None or form not in launches:
                raise BundleError(f"the bundle has no code for an input in the form '{form}'")
            return tuple(s.call(kernel_of(s.code), given) for s in launches[form])

        return Op(
            launcher, _no_contract, self.reads, self.writes, self.weights, self.kernel_options
        )


def _no_contract(**_tensors: Any) -> Faults:
    """Return no faults: a plan's steps are right by construction."""
    return iter(())
