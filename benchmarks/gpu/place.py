"""A Place says where a run happens: what is there, and the command lines of what it runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .folder import Folder
from .section import Command

PROGRAMS = ("ncu", "compute-sanitizer")
# what a package's presence is known by; parents first, as Python looks for modules
MODULES = {
    "timm": ("timm",),
    "pytest": ("pytest",),
    "cuda-bindings": ("cuda", "cuda.bindings"),
}


@dataclass(frozen=True)
class Place:
    """A Place describes a run. folder: of its results; path: of programs; dry: on the CPU, tiny."""

    python: str
    root: Path
    folder: Folder
    scratch: Path
    path: str
    jobs: int
    dry: bool = False
    links: bool = False  # instead of pip

    @property
    def candidates(self) -> Path:
        """Return the folder of candidates that were compiled beforehand."""
        return self.root / "benchmarks" / "gpu" / "candidates" / "out"

    @property
    def bundle(self) -> Path:
        """Return the bundle that was built beforehand, whose code is timed, too."""
        return self.candidates / "model.r2n"

    @property
    def environment(self) -> Path:
        """Return the file in which the section of that name says what this machine is."""
        return self.part("environment.json")

    def part(self, name: str) -> Path:
        return self.folder.parts / name

    def missing(self, need: str) -> str:
        """Say in a few words why a section's need is not met; "" where it is."""
        if need == "gpu":
            return self._no_gpu()
        if need == "candidates":
            made = (self.candidates / "manifest.json").is_file()
            how = "python -m r2n_kernels.benchmarks.gpu.candidates.make"
            return "" if made else f"no candidates were made: {how}"
        if need in PROGRAMS:
            return "" if shutil.which(need, path=self.path) else f"no {need} on the path"
        return "" if all(map(find_spec, MODULES[need])) else f"{need} is not installed"

    def _no_gpu(self) -> str:
        try:
            found = json.loads(self.environment.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"no {self.environment.name} says whether there is a GPU"
        return "" if found.get("gpu") else "torch finds no GPU"

    def script(self, name: str, *words: str | Path) -> Command:
        """Return the command that runs a file beside this one, which needs no package."""
        return self._command(str(Path(__file__).with_name(name)), *words)

    def r2n(self, *words: str | Path) -> Command:
        return self._command("-m", "r2n_kernels.cli", *words)

    def module(self, name: str, *words: str | Path) -> Command:
        """Return the command that runs a file beside this one as a module of the package."""
        return self._command("-m", f"r2n_kernels.benchmarks.gpu.{name}", *words)

    def dryable(self, name: str, *words: str | Path) -> Command:
        """Return the command of a file that knows --dry."""
        return self.module(name, *words, *(["--dry"] if self.dry else []))

    def _command(self, *words: str | Path) -> Command:
        return (self.python, *map(str, words))
