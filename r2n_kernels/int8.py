"""Activation scales say how the blocks of a network are rounded to int8: value = q * scale.

q is a whole number of -127 to 127, and scales are one a tensor. `quantize.activation_scales` finds
them in images; `TritonOptions(int8=scales)` runs a network by them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from .config import Res2NetConfig
from .errors import ConfigError
from .strict_json import is_number, parse

LARGEST = 127  # the largest magnitude of an int8 value here: -128 is never used


@dataclass(frozen=True)
class BlockScales:
    """A block has a scale for each tensor that it writes.

    planes: of what its 3x3 convolutions read, splits and sums of the chain alike. y: of what its
    last convolution reads. out: of what it gives to the next block.
    """

    name: str  # as "layer1.0"
    planes: float
    y: float
    out: float


@dataclass(frozen=True)
class ActivationScales:
    """They are the scales of a network: of the stem's output, and of each block in its order.

    trunk: hash of the weights in front of the classifier that the scales were measured with.
    """

    stem: float
    blocks: tuple[BlockScales, ...]
    trunk: str

    def __post_init__(self) -> None:
        """Raise ConfigError for a scale by which nothing can be rounded."""
        if not (isinstance(self.blocks, tuple) and isinstance(self.trunk, str)):
            raise ConfigError("int8: expected blocks as a tuple, and the trunk's hash as text")
        for name, scale in self.named().items():
            if not (is_number(scale) and math.isfinite(scale) and scale > 0):
                raise ConfigError(f"int8: the scale {name} must be finite and above 0, got {scale}")

    def named(self) -> dict[str, float]:
        """Return the scales by names such as "layer1.0.planes"."""
        blocks = {
            f"{block.name}.{field.name}": getattr(block, field.name)
            for block in self.blocks
            for field in fields(block)[1:]
        }
        return {"stem": self.stem, **blocks}

    def check(self, config: Res2NetConfig) -> None:
        """Raise ConfigError where these are the scales of another network."""
        found, expected = [b.name for b in self.blocks], [b.name for b in config.blocks()]
        if found != expected:
            raise ConfigError(
                f"int8: expected scales of the blocks {_listed(expected)}, got {_listed(found)}"
            )

    def check_trunk(self, found: str) -> None:
        """Raise ConfigError where the trunk's hash is another one."""
        if found != self.trunk:
            raise ConfigError(
                "int8: these scales were measured with other weights; make them anew of this "
                "checkpoint, by quantize.activation_scales"
            )

    def to_json(self) -> str:
        """Return them as JSON, for a file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> ActivationScales:
        """Invert `to_json`. Raises ConfigError for any other text."""
        try:
            found = parse(text)
            return cls(**{**found, "blocks": tuple(BlockScales(**b) for b in found["blocks"])})
        except ConfigError:
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"int8: these are no activation scales: {error}") from error


def _listed(names: Iterable[str]) -> str:
    first, *rest = (*names, "none")
    return f"{first} to {rest[-2]}" if len(rest) > 1 else first
