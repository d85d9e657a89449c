"""Tile shapes: frozen, chosen by rule. Nothing is tuned at import or in serving."""

from __future__ import annotations

from dataclasses import dataclass

MIN_BLOCK = 16  # smallest side of a tensor-core tile in Triton


@dataclass(frozen=True)
class TileConfig:
    """A GEMM tile [block_m, block_k] x [block_k, block_n], its warps and pipeline stages."""

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k"):
            value = getattr(self, name)
            if value < MIN_BLOCK or value & (value - 1):
                raise ValueError(f"{name} must be a power of two from {MIN_BLOCK}, got {value}")


def stage_tile(channels: int) -> TileConfig:
    """For a 3x3 convolution of `channels` stored channels.

    From ahead-of-time compilation on sm_80, 90, 100 and 120: the tallest tiles without a spill.
    """
    if channels <= 16:
        return TileConfig(128, 16, 16, 4, 4)
    if channels <= 32:
        return TileConfig(128, 32, 32, 4, 4)
    if channels <= 64:
        return TileConfig(128, 64, 32, 8, 3)
    if channels <= 128:
        return TileConfig(128, 128, 64, 8, 3)
    return TileConfig(64, 256, 64, 8, 3)


def pointwise_tile(k: int, n: int) -> TileConfig:
    """For a 1x1 convolution of k input and n output columns."""
    block_k = 64 if k >= 64 else max(MIN_BLOCK, 1 << (k - 1).bit_length())
    if n <= 64:
        return TileConfig(128, 64 if n > 32 else 32, block_k, 4, 3)
    return TileConfig(128, 128, block_k, 8, 3)
