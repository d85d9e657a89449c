"""Where a measurement comes from: machine, versions, commit, kernels."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

import torch

from .. import kernels
from .machine import cpu_name

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def machine(device: torch.device) -> dict[str, Any]:
    """cpu, gpu and driver (null on the CPU), threads, and versions of torch and triton."""
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


def driver() -> str:
    """NVIDIA's driver; "unknown" where its tool is not there to ask, as under ROCm."""
    try:
        done = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.partition("\n")[0].strip() or "unknown"


def commit() -> tuple[str | None, bool]:
    """(commit of the work tree that this package lies in, whether it was changed); else None."""
    folder = Path(kernels.__file__).resolve().parent
    try:
        root = Path(git(folder, "rev-parse", "--show-toplevel"))
        if root / "kernels" != folder:  # installed below some other project
            return None, False
        found = git(folder, "rev-parse", "HEAD")
        return found, bool(git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, False


def kernels_hash() -> str:
    """Of the kernels' sources, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(Path(kernels.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def git(folder: Path, *words: str) -> str:
    """What git prints there. Raises OSError without git, and CalledProcessError where it fails."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
