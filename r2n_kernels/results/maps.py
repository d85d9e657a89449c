"""Feature maps of one image become a .safetensors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..files import replacing
from .place import check_suffix, find_place

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"


@contextlib.contextmanager
def map_writer(
    path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()
) -> Iterator[Callable[[Mapping[str, torch.Tensor]], None]]:
    """Yield what writes named tensors, once, in their dtypes; on an error the file is as it was.

    Raises ConfigError for another suffix, and where the file cannot be written.
    """
    place = find_place(path, inputs)
    check_suffix(path, Path(path).suffix.lower(), [SUFFIX])
    if place.stream:
        raise ConfigError(f"cannot write {os.fspath(path)!r}: a stream takes no feature maps")
    with replacing(place) as file:

        def write(maps: Mapping[str, torch.Tensor]) -> None:
            from safetensors.torch import save

            file.write(save({name: value.cpu().contiguous() for name, value in maps.items()}))

        yield write
