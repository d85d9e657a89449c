"""What a bundle says of itself is read here once, and checked: nothing else looks into its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from math import prod
from typing import Any

import torch

from ..config import Res2NetConfig
from ..kernels.targets import NVIDIA, TARGETS
from ..kernels.tiles import TileConfig
from ..weights.config_values import check_description
from .codec import whole

SCHEMA = 1
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
POINTER = "u64"
WIDTHS = {"u64": 8, "u32": 4, "f32": 4}  # bytes of a kernel's parameter in PTX
WARPS = (1, 2, 4, 8, 16, 32)
BLOCKS, PARAMETERS, PIXELS = 1000, 2**32, 2**34  # most that a pass has: far more than any does
GRID = 2**31 - 1  # most CTAs of a launch along x (CUDA programming guide)


@dataclass(frozen=True)
class Code:
    """A Code is a kernel compiled for one target, and what a launch of it takes.

    entry: its name in the code. shared: bytes per CTA. registers: per thread. parameters: name and
    PTX type of each; those at the end that no launch gives are Triton's, and 0.
    """

    key: str
    entry: str
    target: str
    warps: int
    shared: int
    registers: int
    parameters: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if type(self.entry) is not str or not self.entry.isidentifier():
            raise ValueError(f"entry {self.entry!r}")
        if self.target not in NVIDIA:
            raise ValueError(f"target '{self.target}'")
        if type(self.registers) is not int or self.registers < 0:
            raise ValueError(f"{self.registers} registers per thread")
        if type(self.warps) is not int or self.warps not in WARPS:
            raise ValueError(f"{self.warps} warps per CTA")
        limit = TARGETS[self.target].shared_bytes
        if type(self.shared) is not int or not 0 <= self.shared <= limit:
            raise ValueError(f"{self.shared} bytes of shared memory, {limit} at most")
        if any(kind not in WIDTHS for _, kind in self.parameters):
            raise ValueError(f"parameters {self.parameters}")

    @property
    def cubin(self) -> str:
        """Return the name of the part."""
        return f"code/{self.key}.cubin"

    @property
    def ptx(self) -> str:
        return f"code/{self.key}.ptx"


@dataclass(frozen=True, order=True)
class Shape:
    """A Shape is a forward pass that a bundle has code for, on one target."""

    target: str
    batch: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.target not in NVIDIA:
            raise ValueError(f"target '{self.target}'")
        sizes = self.batch, self.height, self.width
        if any(type(n) is not int or n < 1 for n in sizes) or prod(sizes) > PIXELS:
            raise ValueError(f"{self.batch} images of {self.height}x{self.width}")

    def __str__(self) -> str:
        return f"{self.target} b{self.batch} {self.height}x{self.width}"

    @property
    def plan(self) -> str:
        """Return the name of the part."""
        return f"plan/{self}"

    @property
    def proof(self) -> str:
        """Return the name of the part that has the same kernels on few images."""
        return f"proof/{self}"


@dataclass(frozen=True)
class Candidate:
    """A Candidate is a shape's plan with another tile for one geometry, for `r2n tune` to time.

    geometry: the key of a `TileTable`.
    """

    shape: Shape
    geometry: str
    tile: TileConfig

    @property
    def plan(self) -> str:
        """Return the name of the part."""
        return f"tile/{self.shape}/{self.geometry}/{'-'.join(map(str, astuple(self.tile)))}"


@dataclass(frozen=True)
class Manifest:
    """A bundle says this of itself.

    weights: names of the steps whose weights are in the bundle; None where a loader has them.
    made_with: versions by package.
    """

    name: str
    config: Res2NetConfig
    dtype: torch.dtype
    pretrained_cfg: Mapping[str, Any]
    made_with: Mapping[str, str]
    codes: Mapping[str, Code]
    shapes: tuple[Shape, ...]
    weights: tuple[str, ...] | None
    candidates: tuple[Candidate, ...] = ()

    @property
    def parts(self) -> Iterator[str]:
        """Yield the names of the parts that a bundle must have."""
        for code in self.codes.values():
            yield from (code.cubin, code.ptx)
        for shape in self.shapes:
            yield from (shape.plan, shape.proof)
        for candidate in self.candidates:
            yield candidate.plan
        for step in self.weights or ():
            yield from (f"weights/{step}/weight", f"weights/{step}/bias")

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(shape.target for shape in self.shapes))

    def encode(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "config": asdict(self.config),
            "dtype": str(self.dtype).removeprefix("torch."),
            "pretrained_cfg": dict(self.pretrained_cfg),
            "made_with": dict(self.made_with),
            "codes": {key: _without_key(code) for key, code in self.codes.items()},
            "shapes": [list(asdict(shape).values()) for shape in self.shapes],
            "weights": None if self.weights is None else list(self.weights),
            "candidates": [
                [self.shapes.index(c.shape), c.geometry, list(astuple(c.tile))]
                for c in self.candidates
            ],
        }

    @staticmethod
    def decode(data: Mapping[str, Any]) -> Manifest:
        """Invert `encode`. Raises KeyError, TypeError, ValueError for anything else."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}, expected {SCHEMA}")
        codes = {
            key: Code(**{**code, "key": key, "parameters": _pairs(code["parameters"])})
            for key, code in data["codes"].items()
        }
        weights, shapes = data["weights"], tuple(Shape(*shape) for shape in data["shapes"])
        if not shapes or len(set(shapes)) < len(shapes):
            raise ValueError("no shapes, or two of one")
        return Manifest(
            _text(data["name"]),
            _config(data["config"]),
            DTYPES[data["dtype"]],
            _cfg(data["pretrained_cfg"]),
            {k: _text(v) for k, v in data["made_with"].items()},
            codes,
            shapes,
            None if weights is None else tuple(map(_text, weights)),
            tuple(
                Candidate(shapes[whole([place])[0]], _text(geometry), TileConfig(*whole(tile)))
                for place, geometry, tile in data["candidates"]
            ),
        )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected a text, got {value!r}")
    return value


def _config(data: Mapping[str, Any]) -> Res2NetConfig:
    if missing := [f.name for f in fields(Res2NetConfig) if f.name not in data]:
        raise ValueError(f"parts of its config are missing: {missing}")
    config = Res2NetConfig(**data)
    if sum(config.layers) > BLOCKS:
        raise ValueError(f"a network of {sum(config.layers)} blocks")
    if config.parameters > PARAMETERS:
        raise ValueError(f"a network of {config.parameters} parameters")
    return config


def _without_key(code: Code) -> dict[str, Any]:
    return {name: value for name, value in asdict(code).items() if name != "key"}


def _pairs(parameters: Any) -> tuple[tuple[str, str], ...]:
    return tuple((_text(name), _text(kind)) for name, kind in parameters)


def _cfg(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return timm's pretrained_cfg, whose lists are tuples. Raises ConfigError for odd values."""
    found = {k: tuple(v) if isinstance(v, list) else v for k, v in cfg.items()}
    check_description(found, "pretrained_cfg")
    if not all(found.get("std") or (1,)):
        raise ValueError("a std of 0")
    return found
