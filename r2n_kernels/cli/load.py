"""This file makes the dtype, device and model that arguments describe; all needs torch."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from ..create import create_model
from ..data import labels_for
from ..engine import EMULATED
from ..errors import ConfigError, HubError, UnknownModelError
from ..model.bundled import BundledModel
from ..names import is_bundle
from ..weights.hub import HubUnreachable
from .arguments import DEVICES
from .bundled import expand

if TYPE_CHECKING:
    from ..model.bundled import Model


def precision_from(
    dtype: str | None, device: str, backend: str = "auto"
) -> tuple[torch.dtype, torch.device]:
    """Return the dtype, float32 where none is given, and the device that the arguments name.

    Raises ConfigError for a device that is not there or not known, and float16 on the CPU, where
    only the Triton backend's interpreter and the emulator run it.
    """
    found = device_from(device)
    interprets = backend in ("triton", *EMULATED)
    if dtype == "float16" and found.type == "cpu" and not interprets:
        raise ConfigError("--dtype float16 needs a GPU; on the CPU use float32 or bfloat16")
    return getattr(torch, dtype or "float32"), found


def device_from(text: str) -> torch.device:
    """Return the device. Raises ConfigError for one that is not there or not known."""
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise ConfigError(f"--device: expected {DEVICES}, got '{text}'") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device: expected {DEVICES}, got '{text}'")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(f"--device {text}: torch finds {count or 'no'} CUDA GPU here")
    return device


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[int]:
    """Let torch use `count` threads for a while; None: as many as it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield count or before
    finally:
        torch.set_num_threads(before)


def model_from(args: argparse.Namespace, **kwargs: Any) -> Model:
    """Build the model; `kwargs` are create_model's. Raises its errors, in terms of the options.

    num_classes=0 drops a classifier that nobody wants; a bundle keeps its own, and runs without it.
    """
    dtype: torch.dtype | None
    if is_bundle(args.model):
        device, dtype = device_from(args.device), args.dtype and getattr(torch, args.dtype)
        kwargs["num_classes"] = kwargs.get("num_classes") or None
    elif args.backend == "bundle":
        raise ConfigError("--backend bundle is for a bundle, as in --model model.r2n")
    else:
        dtype, device = precision_from(args.dtype, args.device, args.backend)
    with in_terms_of_options(args.model):
        return create_model(
            expand(args.model),
            pretrained=args.weights is None,
            checkpoint=args.weights,
            backend=args.backend,
            dtype=dtype,
            device=device,
            sha256=args.sha256,
            **kwargs,
        )


def labels_of(model: Model) -> tuple[str, ...] | None:
    """Return the names of the classes, where they are known: a bundle has its own."""
    if isinstance(model, BundledModel):
        return model.labels()
    return labels_for(model.pretrained_cfg, model.num_classes)


@contextlib.contextmanager
def in_terms_of_options(model: str) -> Iterator[None]:
    """Say of create_model's errors which option mends them."""
    try:
        yield
    except UnknownModelError as error:
        if os.path.exists(model):
            hint = f"for a folder write --model local-dir:{model}, for a file --weights"
            raise ConfigError(f"unknown model '{model}'; {hint}") from error
        raise
    except HubUnreachable as error:
        raise HubError(f"{error} (--weights PATH)") from error
