"""The peak of memory that a subject adds is measured: weights, buffers, activations and scratch.

On a GPU it is what torch's allocator held; on Linux the process's resident memory, which counts
every library's. Elsewhere it is not measured.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): writing it to clear_refs sets VmHWM to VmRSS
CALLS = 2  # the second may pack weights or capture a graph

Call = Callable[[], object]
Built = TypeVar("Built", bound=Call)


def build_and_measure(build: Callable[[], Built], device: torch.device) -> tuple[Built, int | None]:
    """Return build(), and the peak bytes of it and of its first calls, over those before.

    What only building needs, and gives back, does not count.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.synchronize(device)
        held = torch.cuda.memory_allocated(device)
        call = build()
        torch.cuda.reset_peak_memory_stats(device)
        _run(call)
        torch.cuda.synchronize(device)
        return call, torch.cuda.max_memory_allocated(device) - held
    _trim()
    before = _status("VmRSS")
    call = build()
    _trim()
    reset = _reset_peak()
    _run(call)
    peak = _status("VmHWM")
    if not reset or before is None or peak is None:
        return call, None
    return call, max(peak - before, 0)


def process_peak() -> int | None:
    """Return the most resident bytes that this process has had, where the system tells."""
    return _status("VmHWM")


def _run(call: Call) -> None:
    for _ in range(CALLS):
        call()


def _trim() -> None:
    """Give what is free back to the system, where the C library can."""
    gc.collect()
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@cache
def _libc() -> ctypes.CDLL | None:
    """Load the C library, once: to find it, Python asks a compiler or a linker."""
    name = ctypes.util.find_library("c")
    return ctypes.CDLL(name) if name else None


def _status(name: str) -> int | None:
    """Read bytes of /proc/self/status; None where the system does not tell."""
    if not STATUS.exists():
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _reset_peak() -> bool:
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:  # a kernel or container that forbids it
        return False
    return True
