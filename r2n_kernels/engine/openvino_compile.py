"""OpenVINO compiles a graph for a CPU, as often as it is told other threads, streams or a dtype."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import openvino
import torch

from ..errors import KernelError

LOADED_BY = os.getpid()  # OpenVINO's threads are there, and nowhere else
PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


def unsupported(dtype: torch.dtype, device: torch.device) -> str:
    """Return why OpenVINO cannot run this here, or nothing."""
    if forked():
        return (
            "OpenVINO was loaded before this process was forked, and its threads are not here: "
            "start worker processes by 'spawn' or 'forkserver'"
        )
    if device.type != "cpu":
        return f"OpenVINO runs on the CPU, the device is {device}"
    if dtype not in PRECISIONS:
        return f"OpenVINO runs torch.float32 and torch.bfloat16 on a CPU, got {dtype}"
    if dtype == torch.bfloat16 and "BF16" not in (can := capabilities()):
        return f"this CPU has no bfloat16 for OpenVINO, which has {', '.join(sorted(can))}"
    return ""


def forked() -> bool:
    """Return whether this process is a fork of the one that loaded OpenVINO, where it hangs."""
    return os.getpid() != LOADED_BY


def capabilities() -> list[str]:
    """Return what OpenVINO says that this CPU can, as "BF16" and "INT8"."""
    with own_signal_stack():
        return openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@contextmanager
def own_signal_stack() -> Iterator[Callable[[], object]]:
    """Give the calling thread its stack for signals back, after what makes OpenVINO's cores.

    It yields a function that gives it back before the end. Each core of OpenVINO 2026.4 sets a
    stack, and unmaps it when it ends: where two of them do not end in the opposite order, or one in
    another thread, a thread is left with a stack that is gone, and the next signal that Python
    handles, as Ctrl-C, is a segmentation fault.
    """
    if sys.platform != "linux":
        yield lambda: None
        return
    libc, stack = ctypes.CDLL(None), ctypes.create_string_buffer(64)  # a stack_t has 24 bytes
    libc.sigaltstack(None, stack)
    try:
        yield lambda: libc.sigaltstack(stack, None)
    finally:
        libc.sigaltstack(stack, None)


def compile_graph(
    graph: openvino.Model, dtype: torch.dtype, threads: int, streams: int
) -> openvino.CompiledModel:
    """Compile for one request at a time on all threads, or for as many as there are streams.

    Raises KernelError where OpenVINO cannot. It compiles this network in some tenths of a second: a
    cache of its on disk would save half of that, and knows no checksum.
    """
    settings = {
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "ENABLE_CPU_PINNING": False,  # several processes would have the same cores
    }
    try:
        with own_signal_stack():
            return openvino.Core().compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise KernelError(f"OpenVINO cannot compile the network: {last_line(error)}") from error


def last_line(error: Exception) -> str:
    """Return what OpenVINO says in the end, behind the places in its source."""
    return (str(error).strip() or repr(error)).splitlines()[-1]
