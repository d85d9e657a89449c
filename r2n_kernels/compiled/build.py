"""Instances are compiled, and kept on disk: one gzipped JSON file each, named by what made it.

`compile_instance` runs in a worker process, which has the real kernels and needs no GPU.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import re
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import KernelError
from ..files import replace_bytes
from ..kernels.targets import TARGETS
from . import facts
from .facts import Facts, amd_facts, nvidia_facts
from .instances import Instance
from .pool import Pool
from .sources import sources_of

logger = logging.getLogger("r2n_kernels.compiled")

TEXTS = ("ttir", "ttgir", "llir", "ptx", "sass", "amdgcn")
USAGE = re.compile(r"\b(REG|STACK|SHARED|LOCAL):(\d+)")

# Prefixes of environment variables that change what Triton, LLVM and ptxas make
PREFIXES = ("TRITON_", "DISABLE_", "LLVM_", "MLIR_", "NVPTX_", "AMDGCN_")
OURS = ("TRITON_INTERPRET", "TRITON_CACHE_DIR")  # workers have their own
# Files that decide, beside a kernel's own, how it is compiled and which facts are kept of it
SOURCES = (Path(__file__), Path(facts.__file__))
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Compiled:
    """A Compiled holds facts and texts of one instance.

    texts: by kind, of TEXTS; those that the target has. seconds: that the compilation took.
    cubin: what NVIDIA's driver loads; of other makers' code nothing.
    """

    facts: Facts
    texts: dict[str, str]
    seconds: float
    cubin: bytes = b""


def compile_instance(instance: Instance) -> Compiled:
    """Compile in this process. Raises whatever Triton, LLVM or ptxas raise."""
    # here, so that the parent, which only reads the cache, needs no compiler
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.experimental.gluon._runtime import GluonASTSource

    from ..kernels.call import triton_options

    start, target = time.perf_counter(), TARGETS[instance.target]
    kernel = getattr(importlib.import_module(instance.module), instance.function)
    attrs = {place: [list(pair) for pair in pairs] for place, pairs in instance.attrs}
    kind = GluonASTSource if kernel.is_gluon() else ASTSource
    source = kind(kernel, dict(instance.signature), dict(instance.constants), attrs)
    made = triton.compile(
        source,
        target=GPUTarget(target.backend, target.arch, target.warp_size),
        options=triton_options(instance.warps, instance.registers),
    )
    texts = {kind: made.asm[kind] for kind in TEXTS if kind in made.asm}
    if target.backend == "cuda":
        texts["sass"], usage = disassemble(made.asm["cubin"])
        found = nvidia_facts(texts["ptx"], texts["sass"], usage, made.metadata.shared)
    else:
        found = amd_facts(texts["amdgcn"], made.metadata.shared)
    return Compiled(found, texts, time.perf_counter() - start, made.asm.get("cubin", b""))


def disassemble(cubin: bytes) -> tuple[str, dict[str, int]]:
    """Return SASS, and registers per thread, stack, static shared and local bytes ("REG", ...)."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = _output(knobs.nvidia.cuobjdump.path, "-res-usage", path)
        # -ndf: without its analysis of branches, which changes no line and takes a quarter more
        sass = _output(knobs.nvidia.nvdisasm.path, "-c", "-ndf", path)
    return sass, {name: int(value) for name, value in USAGE.findall(usage)}


def _output(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
    return done.stdout


def default_folder() -> Path:
    """Return the folder of the user's own cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "r2n_kernels" / "aot"


def toolchain(
    sources: Sequence[Path], settings: Mapping[str, str] = MappingProxyType({})
) -> str:  # fmt: skip
    """Hash all that decides a compilation but the instance: sources, Triton, its variables.

    settings: of these variables, where they differ from this process's.
    """
    digest = hashlib.sha256(importlib.metadata.version("triton").encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    environment = {**os.environ, **settings}
    for name in sorted(environment):
        if name.startswith(PREFIXES) and name not in OURS:
            digest.update(f"{name}={environment[name]}".encode())
    return digest.hexdigest()


class Cache:
    """A Cache keeps compiled instances in a folder that processes may share: files appear complete.

    An edited file makes instances outdated of those kernels alone that import it.
    settings: of the pool that compiles.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder, self._settings, self._outdated = folder, settings, False
        self._sources: dict[str, tuple[Path, ...]] = {}
        self._toolchains: dict[str, str] = {}

    def _toolchain(self, module: str) -> str:
        """Return that of a kernel's module, as it was when the first of its instances was met."""
        if module not in self._toolchains:
            self._sources[module] = (*sources_of(module), *SOURCES)
            self._toolchains[module] = toolchain(self._sources[module], self._settings)
        return self._toolchains[module]

    def path(self, instance: Instance) -> Path:
        decided = f"{self._toolchain(instance.module)} {instance!r}"
        name = hashlib.sha256(decided.encode()).hexdigest()
        return self.folder / f"{name[:40]}.json.gz"

    def get(self, instance: Instance) -> Compiled | None:
        """Return None for an instance that is not there, or damaged, which is logged."""
        path = self.path(instance)
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                data = json.load(file)
            facts, cubin = Facts.from_json(data["facts"]), base64.b64decode(data["cubin"])
            return Compiled(facts, data["texts"], data["seconds"], cubin)
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            logger.warning("%s is damaged, so it is made again: %r", path, error)
            return None

    def put(self, instance: Instance, compiled: Compiled) -> None:
        """Keep an instance, unless its sources were edited: nobody knows which were compiled."""
        before = self._toolchain(instance.module)
        if toolchain(self._sources[instance.module], self._settings) != before:
            if not self._outdated:
                logger.warning("sources have changed during the run: what they decide is not kept")
            self._outdated = True
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**asdict(compiled), "cubin": base64.b64encode(compiled.cubin).decode()})
        replace_bytes(self.path(instance), gzip.compress(text.encode(), compresslevel=3))


def compile_all(
    wanted: Iterable[Instance], pool: Pool, cache: Cache | None
) -> Iterator[tuple[Instance, Compiled | KernelError, bool]]:
    """Yield (instance, result, whether it was in the cache) as they get done, side by side."""
    missing = []
    for instance in wanted:
        kept = cache.get(instance) if cache else None
        if kept is None:
            missing.append(instance)
        else:
            yield instance, kept, True
    for instance, answer in pool.map(compile_instance, missing):
        if cache and not isinstance(answer, KernelError):
            cache.put(instance, answer)
        yield instance, answer, False
