"""Arithmetic in the dtype that was asked for, whatever autocast and TF32 settings surround it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """No autocast; on CUDA float32 is IEEE float32. The user's settings return afterwards."""
    with torch.autocast(device.type, enabled=False):
        if device.type == "cuda" and dtype == torch.float32:
            with ieee_float32():
                yield
        else:
            yield


@contextmanager
def ieee_float32() -> Iterator[None]:
    """TF32 keeps 10 of float32's 23 mantissa bits, enough lost to flip a class.

    Covers cuDNN's convolutions and cuBLAS's products, by torch's per-operator setting (2.9 and
    newer) or by the flags before it.
    """
    if hasattr(torch.backends.cudnn, "conv"):
        holders, attribute, exact = (
            (torch.backends.cudnn.conv, torch.backends.cuda.matmul),
            "fp32_precision",
            "ieee",
        )
    else:
        holders, attribute, exact = (
            (torch.backends.cudnn, torch.backends.cuda.matmul),
            "allow_tf32",
            False,
        )
    before = [getattr(holder, attribute) for holder in holders]
    try:
        for holder in holders:
            setattr(holder, attribute, exact)
        yield
    finally:
        for holder, value in zip(holders, before, strict=True):
            setattr(holder, attribute, value)
