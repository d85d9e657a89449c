"""Imports torch, numpy and Pillow, notes the state of the process, imports the package with all of
its public names, and prints as JSON what that changed: test_imports.py runs it in a fresh
interpreter."""

from __future__ import annotations

import importlib
import json
import logging
import os
import random
import signal
import sys
import threading
import warnings
from typing import Any

import numpy
import PIL.Image
import PIL.ImageFile
import torch

WATCHED = ("socket.", "subprocess.", "os.", "shutil.", "ctypes.dlopen", "signal.", "urllib.")
HARMLESS = ("os.listdir", "os.scandir")
LINUX = sys.platform == "linux"


def note(events: list[str], event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: keep what reaches outside the process; reading a file does not."""
    if event == "open":
        writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
        if writes or str(args[0]).startswith("/dev/"):
            events.append(f"open {args[0]}")
    elif event.startswith(WATCHED) and event not in HARMLESS:
        events.append(f"{event} {args}")


def mapped() -> set[str]:
    """Names of the files mapped into memory: shared libraries."""
    if not LINUX:
        return set()
    with open("/proc/self/maps") as lines:
        return {os.path.basename(line.split()[-1]) for line in lines if "/" in line}


def opened() -> set[str]:
    """Files and devices that the process holds open, by C code too."""
    if not LINUX:
        return set()
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.lexists(link)}


def loggers() -> dict[str, Any]:
    """Loggers that were set up, the root logger always among them."""
    known = {"": logging.getLogger()} | {
        k: v for k, v in logging.root.manager.loggerDict.items() if isinstance(v, logging.Logger)
    }
    return {
        k: (v.level, [repr(h) for h in v.handlers], v.propagate, v.disabled)
        for k, v in known.items()
        if v.level or v.handlers or not v.propagate or v.disabled
    }


def state() -> dict[str, Any]:
    """Settings of torch and of Python that the whole process shares."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return {
        "threads": threading.active_count(),
        "native threads": len(os.listdir("/proc/self/task")) if LINUX else None,
        "torch threads": torch.get_num_threads(),
        "torch dtype": torch.get_default_dtype(),
        "torch device": torch.get_default_device(),
        "torch grad": torch.is_grad_enabled(),
        "torch inference": torch.is_inference_mode_enabled(),
        "torch random": torch.get_rng_state().sum().item(),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch quantized": torch.backends.quantized.engine,
        "matmul precision": torch.get_float32_matmul_precision(),
        "matmul tf32": cuda.allow_tf32,
        "matmul fp16 reduction": cuda.allow_fp16_reduced_precision_reduction,
        "matmul bf16 reduction": cuda.allow_bf16_reduced_precision_reduction,
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "cuda initialised": torch.cuda.is_initialized(),
        "random": hash(random.getstate()),
        "numpy random": hash(numpy.random.get_state()[1].tobytes()),
        "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "environment": {k: hash(v) for k, v in os.environ.items()},  # values may be secrets
        "directory": os.getcwd(),
        "path": list(sys.path),
        "meta path": [repr(finder) for finder in sys.meta_path],
        "hooks": (repr(sys.excepthook), repr(sys.displayhook), repr(threading.excepthook)),
        "signals": {int(s): repr(signal.getsignal(s)) for s in signal.valid_signals()},
        "recursion": sys.getrecursionlimit(),
        "warnings": [repr(entry) for entry in warnings.filters],
        "loggers": loggers(),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What is not as it was: its old and its new value."""
    return {
        name: (repr(before.get(name)), repr(after.get(name)))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }


def main() -> None:
    before, modules, files = state(), set(sys.modules), (mapped(), opened())
    events: list[str] = []
    sys.addaudithook(lambda event, args: note(events, event, args))
    package = importlib.import_module("r2n_kernels")
    for name in package.__all__:  # what needs torch loads at first use
        getattr(package, name)
    seen = list(events)  # what follows raises events of its own
    report = {
        "events": seen,
        "changed": differences(before, state()),
        "modules": sorted(set(sys.modules) - modules),
        "mapped": sorted(mapped() - files[0]),
        "opened": sorted(opened() - files[1]),
        "files": os.listdir("."),
    }
    print(json.dumps(report))


main()
