"""The list of checks, in the order in which they say most: kernels, networks, repeats, speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from . import kernels, networks
from .report import Check, Outcome, Result
from .setup import Setup


def list_checks(setup: Setup, earlier: list[Result]) -> Iterator[Check]:
    """earlier: the caller's list of results, which the last check, of speed, looks at."""

    def check(what: str, dtype: torch.dtype, run: Callable[..., Outcome], *args: object) -> Check:
        name = f"{what:22} {str(dtype).removeprefix('torch.')}"
        return Check(name, _on(setup.device, partial(run, setup, *args)))

    for dtype in setup.dtypes:
        for op in kernels.ops_of(setup):
            yield check(f"kernel {op}", dtype, kernels.kernel_against_twin, op, dtype)
    for dtype in setup.dtypes:
        yield check("chained = split", dtype, kernels.chained_equals_split, dtype)
    for dtype in setup.dtypes:
        yield check("network = reference", dtype, networks.network_against_reference, dtype)
    for dtype in setup.dtypes:
        for schedule in ("throughput", "latency"):
            run = networks.repeats_are_identical
            yield check(f"repeats, {schedule}", dtype, run, dtype, schedule)
    for dtype in setup.dtypes:
        yield check("graph = eager", dtype, networks.graph_equals_eager, dtype)
    for dtype in setup.dtypes:
        yield check("speed", dtype, networks.throughput, dtype, earlier)


def _on(device: torch.device, run: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """With the device current, where Triton launches and the timer waits."""

    def on_device() -> Outcome:
        with torch.cuda.device(device if device.type == "cuda" else -1):
            return run()

    return on_device
