"""What sections need, and why it is not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

CUDA_FOLDERS = ("/usr/local/cuda/bin",)  # where its tools are, often off the path


class Needs:
    """Called with a need's name: why it is missing, in a few words, or "" where it is there."""

    def __init__(self, environment: Path, candidates: Path, path: str) -> None:
        """environment: the file that section leaves; path: where programs are looked for."""
        self.environment, self.candidates, self.path = environment, candidates, path
        self._known: Mapping[str, Callable[[], str]] = {
            "gpu": self._gpu,
            "candidates": self._candidates,
            **{name: partial(self._program, name) for name in ("ncu", "compute-sanitizer")},
            **{name: partial(_module, name) for name in ("timm", "pytest")},
            "cuda-bindings": partial(_module, "cuda-bindings", "cuda", "cuda.bindings"),
        }

    def __call__(self, name: str) -> str:
        return self._known[name]()

    def _gpu(self) -> str:
        try:
            found = json.loads(self.environment.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"no {self.environment.name} says whether there is a GPU"
        return "" if found.get("gpu") else "torch finds no GPU"

    def _candidates(self) -> str:
        if (self.candidates / "manifest.json").is_file():
            return ""
        return "no candidates were made: python -m r2n_kernels.benchmarks.gpu.candidates.make"

    def _program(self, name: str) -> str:
        return "" if shutil.which(name, path=self.path) else f"no {name} on the path"


def _module(package: str, *modules: str) -> str:
    """modules: parents first, as Python looks for them; by default the package's name."""
    there = all(find_spec(module) for module in modules or (package,))
    return "" if there else f"{package} is not installed"
