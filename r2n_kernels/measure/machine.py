"""This file describes the machine that a figure was measured on, for a later reader."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..kernels.targets import target_of
from ..version import __version__

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
GPU_STATE = {  # what a record calls it: what nvidia-smi does; MHz, watts, degrees Celsius
    "gpu_clock": "clocks.sm",
    "gpu_clock_most": "clocks.max.sm",
    "gpu_memory_clock": "clocks.mem",
    "gpu_power": "power.draw",
    "gpu_power_limit": "power.limit",
    "gpu_temperature": "temperature.gpu",
}


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Return what a record states: chips, threads and versions; null where there is none."""
    gpu = device.type == "cuda"
    return {
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(device) if gpu else None,
        "driver": driver() if gpu else None,
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "cache": cache_bytes(),
        "memory": memory_bytes(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "triton": version_of("triton"),
        "r2n_kernels": version_of("r2n_kernels"),
        **(gpu_state(device) if gpu else {}),
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return Python's version and those of the packages that are installed."""
    found = {name: version_of(name) for name in packages}
    return {"python": platform.python_version(), **{n: v for n, v in found.items() if v}}


def describe_machine() -> str:
    """Return one line: processor, threads, instruction set, torch."""
    return (
        f"{cpu_name()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
    )


def describe_environment(device: torch.device) -> dict[str, str]:
    """Return what a self-test or a tuning states: versions, and the GPU that the kernels ran on.

    On the CPU it is the processor, on which the kernels were interpreted.
    """
    import triton  # here: a CPU without Triton is described too

    from ..kernels.versions import missing_fence

    facts = {
        "r2n_kernels": __version__,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    if device.type == "cpu":
        return {**facts, "device": "Triton's interpreter", "processor": describe_machine()}
    target = target_of(device)
    missing = missing_fence(target) if target else ""
    hip, cuda = torch.version.hip, torch.version.cuda
    return {
        **facts,
        **({"missing": missing} if missing else {}),
        "device": torch.cuda.get_device_name(device),
        "architecture": "not supported" if target is None else target.name,
        "runtime": f"ROCm {hip}" if hip else f"CUDA {cuda}",
        "driver": driver(),
    }


def cpu_name() -> str:
    """Return the processor's own name."""
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int | None:
    """Return how many logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def cache_bytes() -> int | None:
    """Return the size of the processor's largest cache, as Linux states it."""
    sizes = [path.read_text(encoding="utf-8") for path in CACHES.glob("index*/size")]
    found = filter(None, (re.fullmatch(r"(\d+)([KMG]?)\s*", size) for size in sizes))
    return max((int(match[1]) * UNITS[match[2]] for match in found), default=None)


def memory_bytes() -> int | None:
    """Return the size of the machine's memory, as POSIX states it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # as on Windows
        return None


def driver() -> str:
    """Return NVIDIA's driver; "unknown" where its tool is not there to ask, as under ROCm."""
    return next(iter(_nvidia_smi(["driver_version"])), "") or "unknown"


def gpu_state(device: torch.device) -> dict[str, float | None]:
    """Return a GPU's clocks, power and temperature now; null where NVIDIA's tool says nothing."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    found = _nvidia_smi(GPU_STATE.values(), [f"--id=GPU-{uuid}"] if uuid else [])
    values = [float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None for text in found]
    return dict(zip(GPU_STATE, values or [None] * len(GPU_STATE), strict=True))


def _nvidia_smi(fields: Iterable[str], which: Iterable[str] = ()) -> list[str]:
    """Return what the tool says of the first GPU; nothing where there is no tool, or no answer."""
    command = ["nvidia-smi", *which, f"--query-gpu={','.join(fields)}"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    line = done.stdout.partition("\n")[0]
    return [text.strip() for text in line.split(",")] if line.strip() else []


def version_of(package: str) -> str | None:
    """Return a package's version: its own word where it is imported, else its distribution's."""
    stated = getattr(sys.modules.get(package), "__version__", None)
    if stated:
        return str(stated)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
