"""Arithmetic stays in the dtype that was asked for, whatever autocast and TF32 say around it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch

from ..tracing import at_trace_time, tracing

logger = logging.getLogger("r2n_kernels.engine")


def exact(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Switch autocast off, and on CUDA TF32; the user's settings return afterwards.

    A graph holds no settings but autocast's: on CUDA, whatever runs it must set the others.
    """
    if not tracing():
        return _exact(device, dtype)
    if device.type == "cuda" and dtype == torch.float32:
        _warn_of_tf32()
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@at_trace_time
def _warn_of_tf32() -> None:
    if _allows_tf32():
        logger.warning(
            "this graph's float32 convolutions run in TF32 where torch.backends.cudnn.allow_tf32 "
            "is True, as it is now; set it to False wherever the graph runs"
        )


@contextmanager
def _exact(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast(device.type, enabled=False):
        if device.type == "cuda" and dtype == torch.float32:
            with ieee_float32():
                yield
        else:
            yield


def ieee_float32() -> AbstractContextManager[None]:
    """Switch TF32 off: it loses 13 of float32's 23 mantissa bits, enough to flip a class.

    It covers cuDNN's convolutions and cuBLAS's products. torch 2.9 and newer know two styles of
    settings, which must agree, else torch raises when it is asked by the older one, as its compiler
    does: both are set, and both return, whichever the user wrote.
    """
    return _both_styles() if hasattr(torch.backends.cudnn, "conv") else _flags()


@contextmanager
def _flags() -> Iterator[None]:
    """Set the flags that torch has before 2.9."""
    holders: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [holder.allow_tf32 for holder in holders]
    try:
        for holder in holders:
            holder.allow_tf32 = False
        yield
    finally:
        for holder, value in zip(holders, before, strict=True):
            holder.allow_tf32 = value


@contextmanager
def _both_styles() -> Iterator[None]:
    backends: Any = torch.backends  # whose modules say their settings by properties
    # oneDNN's is here because setting the older style sets it too
    holders = (
        backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul
    )  # fmt: skip
    before = [_own(holder) for holder in holders]
    try:
        for holder in holders:
            holder.fp32_precision = "ieee"
        _spend_the_warning()
        convolutions, products = _allows_tf32(), torch.get_float32_matmul_precision()
        try:
            _set_older(False, "highest")
            for holder in holders:  # the older style says "none" to some of them
                holder.fp32_precision = "ieee"
            yield
        finally:
            _set_older(convolutions, products)
    finally:
        for holder, value in zip(holders, before, strict=True):
            holder.fp32_precision = value


def _own(holder: Any) -> str:
    """Return what a holder says itself: "none" where the one above it would say the same."""
    value = holder.fp32_precision
    holder.fp32_precision = "none"
    inherited = holder.fp32_precision
    holder.fp32_precision = value
    return "none" if inherited == value else value


def _set_older(convolutions: bool, products: str) -> None:
    """Set the older style, which also sets the newer one."""
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.set_float32_matmul_precision(products)


def _allows_tf32() -> bool:
    """Return cuDNN's older flag while all holders say "ieee": torch raises where they disagree."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return True


@cache
def _spend_the_warning() -> None:
    """Ask once, unheard: torch 2.9 warns that the older style is old, which no user here chose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.get_float32_matmul_precision()
