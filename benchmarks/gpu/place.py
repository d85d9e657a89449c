"""Where a run happens, and the command lines of what it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .section import Command


@dataclass(frozen=True)
class Place:
    """folder: of the results; path: where programs are looked for; dry: on the CPU, tiny."""

    python: str
    root: Path
    folder: Path
    scratch: Path
    path: str
    jobs: int
    dry: bool = False
    links: bool = False  # instead of pip

    @property
    def records(self) -> str:
        return str(self.folder / "records.jsonl")

    @property
    def candidates(self) -> Path:
        """Where candidates lie that were compiled beforehand."""
        return self.root / "benchmarks" / "gpu" / "candidates" / "out"

    def part(self, name: str) -> Path:
        return self.folder / "parts" / name

    def script(self, name: str, *words: str | Path) -> Command:
        """A file beside this one that needs no package."""
        return self._command(str(Path(__file__).with_name(name)), *words)

    def r2n(self, *words: str | Path) -> Command:
        return self._command("-m", "r2n_kernels.cli", *words)

    def module(self, name: str, *words: str | Path) -> Command:
        """A file beside this one, in the package."""
        return self._command("-m", f"r2n_kernels.benchmarks.gpu.{name}", *words)

    def dryable(self, name: str, *words: str | Path) -> Command:
        """One that knows --dry."""
        return self.module(name, *words, *(["--dry"] if self.dry else []))

    def _command(self, *words: str | Path) -> Command:
        return (self.python, *map(str, words))
