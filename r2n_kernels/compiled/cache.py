"""Compiled instances kept on disk: a gzipped JSON file each, named by a hash of what made it."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import logging
import os
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path

from .. import kernels
from .build import Compiled
from .facts import Facts
from .instances import Instance

logger = logging.getLogger("r2n_kernels.compiled")

# Of environment variables that change what Triton, LLVM and ptxas make
PREFIXES = ("TRITON_", "DISABLE_", "LLVM_", "MLIR_", "NVPTX_", "AMDGCN_")
OURS = ("TRITON_INTERPRET", "TRITON_CACHE_DIR")  # workers have their own
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError)


def default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "r2n_kernels" / "aot"


def toolchain() -> str:
    """A hash of all but the instance: sources of the kernels and of this, Triton, settings."""
    digest = hashlib.sha256(importlib.metadata.version("triton").encode())
    for folder in (Path(kernels.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    for name in sorted(os.environ):
        if name.startswith(PREFIXES) and name not in OURS:
            digest.update(f"{name}={os.environ[name]}".encode())
    return digest.hexdigest()


class Cache:
    """`folder` may be shared by processes: a file appears when it is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._toolchain, self._outdated = folder, toolchain(), False

    def path(self, instance: Instance) -> Path:
        name = hashlib.sha256(f"{self._toolchain} {instance!r}".encode()).hexdigest()
        return self.folder / f"{name[:40]}.json.gz"

    def get(self, instance: Instance) -> Compiled | None:
        """None for one that is not there, or damaged, which is logged."""
        path = self.path(instance)
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                data = json.load(file)
            return Compiled(Facts.from_json(data["facts"]), data["texts"], data["seconds"])
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            logger.warning("%s is damaged, so it is made again: %r", path, error)
            return None

    def put(self, instance: Instance, compiled: Compiled) -> None:
        """Not where the sources were edited meanwhile: nobody knows which ones were compiled."""
        if toolchain() != self._toolchain:
            if not self._outdated:
                logger.warning("sources have changed during the run: no more results are kept")
            self._outdated = True
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(compiled))
        number, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(gzip.compress(text.encode(), compresslevel=3))
            os.replace(name, self.path(instance))
        except BaseException:
            os.unlink(name)
            raise
