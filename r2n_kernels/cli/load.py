"""This file makes the dtype, device and model that arguments describe; all needs torch."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from ..batch.models import device_of
from ..bundle import open_bundle
from ..create import architecture_of, create_model
from ..engine import EMULATED
from ..errors import ConfigError, HubError, UnknownModelError
from ..names import is_bundle
from ..weights.hub import HubUnreachable
from .arguments import AUTO, DEVICES
from .bundled import expand
from .preprocessing import preprocessing_from
from .reading import feeding_from

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
    """Return the device, of "auto" a GPU if torch finds one.

    Raises ConfigError for one that is not there or not known.
    """
    if text == AUTO:
        return device_of(text)
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
        kwargs["frozen"] = True  # nobody gets hold of the modules
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


def function_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a `BatchFunction` is told of a model and its images.

    Raises ConfigError for a limit that nothing would hold, and create_model's errors for a model
    whose channels are wanted for the preprocessing.
    """
    how = feeding_from(args)
    return {
        "model": expand(args.model), "weights": args.weights, "device": args.device,
        "dtype": args.dtype, "backend": args.backend, "batch_size": args.batch_size,
        "workers": how.workers, "decode": how.decode, "isolate": how.isolate,
        "limits": how.limits, "sha256": args.sha256,
        "preprocessing": preprocessing_from(args, in_chans_of(args)),
    }  # fmt: skip


def in_chans_of(args: argparse.Namespace) -> int:
    """Return how many channels the model's images have, without making it."""
    if is_bundle(args.model):
        return open_bundle(args.model).manifest.config.in_chans
    with in_terms_of_options(args.model):
        return architecture_of(expand(args.model), args.weights)[0].in_chans


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
