"""A Launcher takes a launch from Triton to the emulator: arguments by their names, then scratch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EmulationError, UnsupportedError
from ..kernel import Kernel
from ..tensormaps import host_arguments

STORED = 150  # characters of a kernel's name in Triton's cache
Argument = tuple[str, str, Any]  # name, type, value


class Launcher:
    """A Launcher belongs to a compiled kernel; Triton makes it of the source and the metadata."""

    def __init__(self, src: Any, metadata: Any) -> None:
        self.signature: dict[str, Any] = dict(src.signature)
        self.metadata = metadata
        self.ptx = _ptx(src, metadata)
        self._kernel: Kernel | None = None

    def __call__(
        self, x: int, y: int, z: int, stream: Any, function: Any, packed: Any, about: Any,
        enter: Any, leave: Any, *args: Any,
    ) -> None:  # fmt: skip
        from triton.runtime import driver

        emulation = getattr(driver.active, "emulation", None)
        if emulation is None:
            raise EmulationError(
                f"{self.metadata.name} was compiled for the emulator, which is no longer active"
            )
        if enter is not None:
            enter(about)
        grid = (x, y, z)
        given = list(
            _flatten(self.signature, args, getattr(self.metadata, "tensordesc_meta", None))
        )
        kernel = self._translated(given)
        values = [value for _, _, value in given] + self._scratch(grid, stream)
        emulation.launch(self.metadata.name, kernel, grid, values)
        if leave is not None:
            leave(about)

    def _translated(self, given: Sequence[Argument]) -> Kernel:
        """Translate at the first launch: names of a descriptor's parts need the arguments."""
        if self._kernel is None:
            names, types = ([one[k] for one in given] for k in (0, 1))
            self._kernel = Kernel(
                self.ptx, self.metadata.shared, self.metadata.num_warps, names, types=types
            )
        return self._kernel

    def _scratch(self, grid: tuple[int, int, int], stream: Any) -> list[Any]:
        """Return scratch memory for all CTAs: of Triton's allocator, and the profiler's."""
        from triton.runtime import _allocation

        ctas = grid[0] * grid[1] * grid[2] * getattr(self.metadata, "num_ctas", 1)
        found: list[Any] = []
        size = getattr(self.metadata, "global_scratch_size", 0) * ctas
        if size:
            align = self.metadata.global_scratch_align
            allocate = _allocation._allocator  # Triton 3.4 keeps no variable of contexts around it
            allocate = allocate.get() if hasattr(allocate, "get") else allocate
            found.append(allocate(size, align, stream))
        size = getattr(self.metadata, "profile_scratch_size", 0) * ctas
        if size:
            found += [None] * (not found) + [np.zeros(size, np.uint8)]
        return found


def _ptx(src: Any, metadata: Any) -> str:
    """Read the PTX from Triton's cache: a launcher is told the source and the metadata alone."""
    from triton.runtime.cache import get_cache_manager

    name = src.name[:STORED]
    group = get_cache_manager(metadata.hash).get_group(f"{name}.json") or {}
    if f"{name}.ptx" not in group:
        raise EmulationError(
            f"Triton's cache has no PTX of {src.name}; is TRITON_STORE_BINARY_ONLY set?"
        )
    return Path(group[f"{name}.ptx"]).read_text(encoding="utf-8")


def _flatten(
    types: Mapping[str, Any], args: Sequence[Any], descriptors: Sequence[Any] | None
) -> Iterator[Argument]:
    """Yield the kernel's parameters: constants are left out, tuples and descriptors taken apart."""
    about = iter(descriptors or ())
    for (name, kind), value in zip(types.items(), args, strict=True):
        yield from _parts(name, kind, value, about)


def _parts(name: str, kind: Any, value: Any, about: Iterator[Any]) -> Iterator[Argument]:
    if isinstance(kind, tuple):
        fields = getattr(kind, "_fields", None) or getattr(value, "_fields", None)
        for i, (inner, one) in enumerate(zip(kind, value, strict=True)):
            yield from _parts(
                f"{name}.{fields[i]}" if fields else f"{name}[{i}]", inner, one, about
            )
    elif kind.startswith("tensordesc"):
        yield from _descriptor(name, kind, value, next(about, None))
    elif kind == "nvTmaDesc":
        raise UnsupportedError(f"{name}: a raw TMA descriptor; use a TensorDescriptor")
    elif kind != "constexpr":
        yield name, kind, value


def _descriptor(name: str, kind: str, value: Any, about: Any) -> Iterator[Argument]:
    """Yield a tensor map with sizes, or, where Triton lowers it to those, a pointer with more."""
    rank = len(value.shape)
    labels = [f"{name}.{what}[{i}]" for what in ("shape", "strides") for i in range(rank)]
    if about is not None:
        made, *rest = host_arguments(value, about)
        yield name, "tensormap", made
        for i, (label, one) in enumerate(zip(labels, rest, strict=True)):
            yield label, "i32" if i < rank else "i64", one
        return
    from triton.backends.nvidia import driver

    make = driver.make_tensordesc_arg  # (descriptor, about) in Triton 3.4, three later
    base, *rest = make(value, *(None,) * (len(signature(make).parameters) - 1))
    yield f"{name}.base", "*" + kind.partition("<")[2].partition("[")[0], base
    flags = len(rest) - 2 * len(labels)
    names = [*labels, *(f"{name}.flag[{i}]" for i in range(flags)), *labels]
    for i, (label, one) in enumerate(zip(names, rest, strict=True)):
        flag = 2 * rank <= i < 2 * rank + flags
        narrow = 2 * rank + flags <= i < 3 * rank + flags
        yield label, "i1" if flag else "i32" if narrow else "i64", one
