"""A source becomes a tensor in two steps: it is decoded, maybe in a process, and finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..decode import Decoder, Limits, read_image
from ..decode.isolated import IsolatedDecoder
from ..errors import ConfigError, ImageError
from ..sources import Sample
from .transform import EvalTransform, pixels_of

Decode = Callable[[Any], Image.Image]
Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Loaded:
    """Loaded is what became of one source: a tensor, or the reason why there is none."""

    image: torch.Tensor | None
    error: str | None
    seconds: float


class Loader:
    """A Loader makes tensors of sources, as `ImageBatches` describes its options.

    Raises ConfigError for an option that the transform has no part in.
    """

    def __init__(
        self, transform: Transform, mode: str | None, decode: str, limits: Limits, isolate: bool,
        pixels: bool,
    ) -> None:  # fmt: skip
        self.isolate = isolate
        self._finish: Transform
        self._decode: Decode
        if isinstance(transform, EvalTransform):
            end = torch.from_numpy if pixels else transform.normalize
            self._finish = lambda image: end(pixels_of(image))
            self._decode = Decoder(transform.geometry, limits, decode, mode)
        elif isolate or pixels or decode != "exact":
            raise ConfigError("isolate, pixels and turbo need a transform of create_transform")
        else:
            read_as: str = getattr(transform, "mode", "RGB") if mode is None else mode
            self._finish = transform
            self._decode = lambda source: read_image(source, read_as, limits)

    @contextmanager
    def running(self) -> Generator[Callable[[Any], Loaded], None, None]:
        """Yield what loads a source, from any thread; its processes are killed at the end."""
        if self.isolate and isinstance(self._decode, Decoder):
            with IsolatedDecoder(self._decode) as decode:
                yield lambda source: self._load(decode, source)
        else:
            yield lambda source: self._load(self._decode, source)

    def _load(self, decode: Decode, source: Any) -> Loaded:
        start = time.monotonic()
        image, error = None, None
        try:
            image = self._finish(decode(source.source if isinstance(source, Sample) else source))
        except ImageError as caught:
            error = str(caught)
        except MemoryError:
            error = "not enough memory to prepare it"
        return Loaded(image, error, time.monotonic() - start)
