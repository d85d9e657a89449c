"""The device's peaks are its maker's figures where they are known, else measured.

L2's bandwidth is measured in any case: makers do not state it, and chips of one name differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..engine.precision import exact
from ..kernels.targets import target_of
from ..measure.timing import interleave
from .devices import DEVICES

SIDE = 2048  # of the square matrices
IMAGES = 8, 256, 28  # images, channels, pixels a side
COPY_BYTES = 2**28
TRIES, SECONDS = 5, 0.1


@dataclass(frozen=True)
class Peak:
    """A Peak says what the device can do at most."""

    flops: float  # per second, two per multiply-accumulate
    bandwidth: float  # bytes read and written per second
    source: str
    l2: float | None = None  # bytes per second between L2 and the SMs of an NVIDIA GPU

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def peak_of(device: torch.device, dtype: torch.dtype) -> Peak:
    """Return the maker's peak of a GPU in `devices` in half precision, else measure it."""
    peak = _stated(device, dtype) or measure(device, dtype)
    target = target_of(device)
    if target is None or target.backend != "cuda":
        return peak
    from .l2_read import l2_bandwidth  # here: the CPU needs no Triton

    l2, size = l2_bandwidth(device)
    told = f"L2: {size >> 20} MiB read over and over by all SMs, measured here"
    return replace(peak, source=f"{peak.source}; {told}", l2=l2)


def _stated(device: torch.device, dtype: torch.dtype) -> Peak | None:
    if device.type == "cuda" and dtype != torch.float32:
        name = torch.cuda.get_device_name(device)
        for known in DEVICES.values():
            if name == known.driver_name:
                return Peak(known.flops, known.bandwidth, known.source)
    return None


def measure(device: torch.device, dtype: torch.dtype, side: int = SIDE) -> Peak:
    """Time a matrix product of `side`, a convolution and a copy, each at its best.

    flops: those of the better of product and convolution.

    Libraries differ: on a Zen 5 CPU PyTorch's float32 products reach 0.43 of what its
    convolutions do.
    """
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    n, c, h = IMAGES
    x, weight = (
        torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last)
        for shape in ((n, c, h, h), (c, c, 3, 3))
    )
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    work = {"product": side**3, "convolution": n * h * h * c * c * 9}  # multiply-accumulates
    calls = {
        "product": lambda: a @ b,
        "convolution": lambda: torch.conv2d(x, weight, padding=1),
        "copy": lambda: target.copy_(source),
    }
    with exact(device, dtype):
        timed = interleave(calls, TRIES, device=device, seconds=SECONDS)
    best = {name: min(min(found) for found in timed[name].rounds) for name in calls}
    flops = max(2 * macs / best[name] for name, macs in work.items())
    told = (
        f"the better of a {side}x{side} matrix product and a {c}-channel 3x3 convolution; "
        f"a {COPY_BYTES >> 20} MiB copy: measured here"
    )
    return Peak(flops, 2 * COPY_BYTES / best["copy"], told)
