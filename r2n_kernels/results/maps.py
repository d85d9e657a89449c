"""Feature maps of one image become a .safetensors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..files import replacing
from .place import check_suffix, find_place

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"


class MapWriter:
    """A MapWriter writes named tensors, in the dtype that they have; on an error it writes nothing.

    Raises ConfigError for another suffix, and where the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> None:
        self._place = find_place(path, inputs)
        check_suffix(path, Path(path).suffix.lower(), [SUFFIX])
        if self._place.stream:
            raise ConfigError(f"cannot write {os.fspath(path)!r}: a stream takes no feature maps")

    def __enter__(self) -> MapWriter:
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(replacing(self._place))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def write(self, maps: Mapping[str, torch.Tensor]) -> None:
        """Write all of the tensors; call it once."""
        from safetensors.torch import save

        self._file.write(save({name: value.cpu().contiguous() for name, value in maps.items()}))
