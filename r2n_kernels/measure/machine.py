"""This file describes the machine that a figure was measured on, for a later reader."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ..kernels.targets import target_of
from ..version import __version__

CPUINFO = Path("/proc/cpuinfo")
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Return what a record states: chips, threads and versions; null where there is none."""
    gpu = device.type == "cuda"
    return {
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(device) if gpu else None,
        "driver": driver() if gpu else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "r2n_kernels": _version("r2n_kernels"),
    }


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


def driver() -> str:
    """Return NVIDIA's driver; "unknown" where its tool is not there to ask, as under ROCm."""
    try:
        done = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.partition("\n")[0].strip() or "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
