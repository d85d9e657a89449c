"""Kernels compiled into Triton's own cache, many at once, before a process that serves needs them.

Triton compiles a kernel at its first launch, one after the other: minutes for a network. Here its
just-in-time compiler runs in worker processes, without a launch and without a GPU: a stand-in for
its driver names the target.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..errors import ConfigError, KernelError
from ..kernels.targets import Target
from .instances import Instance, Request, instances
from .pool import Pool

POINTERS = {
    "*fp16": torch.float16, "*bf16": torch.bfloat16, "*fp32": torch.float32, "*u8": torch.uint8,
}  # fmt: skip
INTEGERS = {"i32": 16, "i64": 2**40}  # a value of each type, divisible by 16


@dataclass(frozen=True)
class Warmed:
    """Result of one kernel.

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
    """What Triton's just-in-time compiler asks of a driver before it would launch."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        return self.target


def _compile(instance: Instance, target: Target, stubs: bool) -> Warmed:
    """Run in a worker. Raises whatever Triton, LLVM or ptxas raise."""
    import importlib

    import triton
    from triton.backends.compiler import GPUTarget

    start, hits, files = time.perf_counter(), [], []
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
    """Arguments and options that Triton specialises to just this instance."""
    from triton.runtime.jit import MockTensor

    from ..kernels.call import triton_options

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
