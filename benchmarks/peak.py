"""What the device can do at most: by its maker's figures where they are known, else measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..engine.precision import exact
from .devices import DEVICES
from .timing import interleave

SIDE = 2048  # of the square matrices
COPY_BYTES = 2**28
TRIES, SECONDS = 5, 0.1


@dataclass(frozen=True)
class Peak:
    """flops: a second, two a multiply-accumulate; bandwidth: bytes read and written a second."""

    flops: float
    bandwidth: float
    source: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def peak_of(device: torch.device, dtype: torch.dtype) -> Peak:
    """Of a GPU in `devices` in half precision by its maker; else the best of a few tries here."""
    if device.type == "cuda" and dtype != torch.float32:
        name = torch.cuda.get_device_name(device)
        for known in DEVICES.values():
            if name in known.called:
                return Peak(known.flops, known.bandwidth, known.source)
    return measure(device, dtype)


def measure(device: torch.device, dtype: torch.dtype, side: int = SIDE) -> Peak:
    """A matrix product of `side`, and a copy, each at its best."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    calls = {"product": lambda: a @ b, "copy": lambda: target.copy_(source)}
    with exact(device, dtype):
        timed = interleave(calls, TRIES, device=device, seconds=SECONDS)
    product, copy = (min(min(found) for found in timed[name].rounds) for name in calls)
    told = f"a {side}x{side} matrix product and a {COPY_BYTES >> 20} MiB copy, measured here"
    return Peak(2 * side**3 / product, 2 * COPY_BYTES / copy, told)
