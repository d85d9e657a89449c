"""Kernels are compiled into Triton's own cache, many at once, before a serving process needs them.

Triton compiles a kernel at its first launch, one after the other: minutes for a network. Here its
just-in-time compiler runs in worker processes, without a launch and without a GPU: a stand-in for
its driver names the target. A note in the cache lists what a run left there, so that a second run
looks at files alone.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import fold, kernels, plan
from ..errors import ConfigError, KernelError
from ..files import replace_text
from ..kernels.call import triton_options
from ..kernels.targets import Target
from ..proof.networks import PARITY_BATCH, Setup
from . import instances as instances_module
from .build import SOURCES, toolchain
from .instances import FORMS, Instance, Request, instances
from .pool import Pool

POINTERS = {
    "*fp16": torch.float16, "*bf16": torch.bfloat16, "*fp32": torch.float32, "*u8": torch.uint8,
}  # fmt: skip
INTEGERS = {"i32": 16, "i64": 2**40}  # a value of each type, divisible by 16


@dataclass(frozen=True)
class Warmed:
    """Warmed is the result of one kernel.

    found: it was in the cache already. files: its paths there. error: empty where all is well.
    """

    instance: Instance
    seconds: float
    found: bool
    files: tuple[str, ...] = ()
    error: str = ""


def warm(
    requests: Sequence[Request],
    pool: Pool,
    target: Target,
    *,
    stubs: bool = False,
    started: Callable[[int], None] = lambda total: None,
    done: Callable[[], None] = lambda: None,
) -> list[Warmed]:
    """Compile every kernel that the requests launch on the target, in the pool's Triton cache.

    stubs: also what launches them, which older Tritons compile with the system's C compiler and
    CUDA's library. started(total) and done() tell progress. Raises ConfigError where a request has
    no plan.
    """
    found: dict[Instance, None] = {}
    for request, answer in pool.map(instances, requests):
        if isinstance(answer, KernelError):
            raise ConfigError(f"batch {request.batch}, {request.dtype}: {answer}")
        found |= dict.fromkeys(instance for instance, _ in answer)
    started(len(found))
    longest_first = sorted(found, key=lambda instance: -instance.constant.get("BLOCK_M", 0))
    results = []
    for instance, answer in pool.map(partial(_compile, target=target, stubs=stubs), longest_first):
        failed = isinstance(answer, KernelError)
        results.append(Warmed(instance, 0.0, False, error=str(answer)) if failed else answer)
        done()
    return results


class _Driver:
    """_Driver answers what Triton's JIT compiler asks of a driver before it would launch."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        return self.target


def _compile(instance: Instance, target: Target, stubs: bool) -> Warmed:
    """Compile in this worker. Raises whatever Triton, LLVM or ptxas raise."""
    import triton
    from triton.backends.compiler import GPUTarget

    start = time.perf_counter()
    hits: list[bool] = []
    files: list[str] = []
    named = GPUTarget(target.backend, target.arch, target.warp_size)
    triton.runtime.driver.set_active(_Driver(named))

    def heard(src: Any, metadata: Any, metadata_group: Any, times: Any, cache_hit: bool) -> None:
        hits.append(cache_hit)
        files.extend(map(str, metadata_group.values()))

    triton.knobs.compilation.listener = heard
    kernel = getattr(importlib.import_module(instance.module), instance.function)
    kernel.device_caches.clear()  # of this process, which may hold another target's device 0
    made = kernel.warmup(**arguments(instance), grid=(1,))
    if stubs:
        _launcher_stub(made)
    return Warmed(instance, time.perf_counter() - start, all(hits), tuple(files))


def arguments(instance: Instance) -> dict[str, Any]:
    """Return arguments and options that Triton specialises to just this instance."""
    from triton.runtime.jit import MockTensor

    aligned = {place for place, _ in instance.attrs}
    constant, given = instance.constant, triton_options(instance.warps, instance.registers)
    for place, (name, kind) in enumerate(instance.signature):
        if kind == "constexpr":
            given[name] = constant[name]
        elif kind in POINTERS:
            given[name] = MockTensor(POINTERS[kind])
        else:
            given[name] = INTEGERS[kind] + ((place,) not in aligned)
    return given


def _launcher_stub(made: Any) -> None:
    """Compile the C code that launches kernels of this signature: Triton before 3.7 needs it."""
    from triton.backends.nvidia import driver

    if hasattr(driver, "make_launcher"):
        driver.CudaLauncher(made.src, made.metadata)


def selftest_requests(setup: Setup, target: str, chip: Target) -> Iterator[Request]:
    """Yield the forward passes of a self-test. target: of kernels.targets; chip: the very GPU."""
    for dtype in setup.dtypes:
        yield from _requests_in(dtype, setup, target, chip)


def _requests_in(dtype: torch.dtype, setup: Setup, target: str, chip: Target) -> Iterator[Request]:
    shape = (setup.size, setup.size, dtype, target)
    for forward in setup.forwards:
        yield Request(
            forward.config, forward.batch, *shape, forward.schedule, forward.on(chip), either=True
        )
    yield Request(setup.config, min(PARITY_BATCH, setup.batch), *shape, "auto", chip)
    for schedule in plan.SCHEDULES:
        yield Request(setup.config, setup.batch, *shape, schedule, chip, forms=FORMS[:2])


def triton_cache() -> Path:
    """Return the folder where Triton keeps what it compiles."""
    home = Path(os.environ.get("TRITON_HOME") or Path.home())
    return Path(os.environ.get("TRITON_CACHE_DIR") or home / ".triton" / "cache")


def note_path(requests: Sequence[Request], target: Target, *, stubs: bool) -> Path:
    """Return the note's place, named by all that decides which kernels there are."""
    files = [Path(__file__), Path(instances_module.__file__)]
    for package in (plan, fold, kernels):
        files += sorted(Path(package.__path__[0]).rglob("*.py"))
    decided = f"{toolchain((*SOURCES, *files))} {(requests, target, stubs)!r}"
    return triton_cache() / f"r2n-warm-{hashlib.sha256(decided.encode()).hexdigest()[:40]}.json"


def still_there(note: Path) -> int:
    """Return how many kernels the note knows; 0 without a note, or where a file is missing."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        files = [Path(file) for files in known for file in files]
    except (OSError, ValueError, TypeError):  # no note, or a damaged one: compiling tells
        return 0
    return len(known) if all(map(Path.exists, files)) else 0


def write_note(note: Path, results: Sequence[Warmed]) -> None:
    """Note the files of each kernel."""
    note.parent.mkdir(parents=True, exist_ok=True)
    replace_text(note, json.dumps([result.files for result in results]))
