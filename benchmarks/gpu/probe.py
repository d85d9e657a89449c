"""Measure this chip's ceilings, and calls by the wall clock: first calls, latency, host work.

usage: probe.py OUT.json [--dry]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ...config import HEADLINE
from ...create import from_timm
from ...engine.precision import exact
from ...measure.timing import interleave
from ...proof.parity import eager_model
from .. import peak
from ..network import tuned_cudnn
from .facts import Facts

# [m, k] x [k, n]: a library's favourite, and the depth of this network's products
PRODUCTS = ((8192, 8192, 8192), (131072, 416, 1024))
BATCHES = (1, 8, 256)
CALLS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dry", action="store_true", help="on the CPU, tiny")
    args = parser.parse_args()
    facts = Facts(args.out)
    device = torch.device("cpu" if args.dry else "cuda")
    dtypes = (torch.float32,) if args.dry else (torch.float16, torch.bfloat16)
    with torch.no_grad(), tuned_cudnn():
        for dtype in dtypes:
            with exact(device, dtype):
                ceilings(facts, device, dtype, args.dry)
        eager = eager_model("res2net50_48w_2s" if args.dry else HEADLINE, "reference")
        for dtype in dtypes:
            latency(facts, eager, device, dtype, args.dry)


def ceilings(facts: Facts, device: torch.device, dtype: torch.dtype, dry: bool) -> None:
    name = str(dtype).removeprefix("torch.")
    found = peak.measure(device, dtype)
    if device.type == "cuda":
        from ..l2_read import l2_bandwidth  # here: the CPU needs no Triton

        found = dataclasses.replace(found, l2=l2_bandwidth(device)[0])
    facts.keep(f"peak {name}", dataclasses.asdict(found))
    for m, k, n in ((256, 64, 64),) if dry else PRODUCTS:
        a, b = (torch.randn(*shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        call = {"product": lambda a=a, b=b: a @ b}
        best = min(interleave(call, 3, device=device, seconds=0.05)["product"].medians)
        facts.keep(f"TFLOP/s {m}x{k}x{n} {name}", round(2 * m * k * n / best / 1e12, 1))


def latency(
    facts: Facts, eager: torch.nn.Module, device: torch.device, dtype: torch.dtype, dry: bool
) -> None:
    """Time a request alone, from the call to the logits on the device; then back to back."""
    sync = torch.get_device_module(device).synchronize
    name = str(dtype).removeprefix("torch.")
    start = time.perf_counter()
    backend = "torch" if dry else "triton"
    model = from_timm(eager, backend=backend, dtype=dtype, device=device)
    facts.keep(f"seconds to build {name}", round(time.perf_counter() - start, 2))
    size, calls = (32, 3) if dry else (224, CALLS)
    for batch in (1,) if dry else BATCHES:
        x = torch.randn(batch, 3, size, size).to(device, dtype, memory_format=torch.channels_last)
        first = wall(model, x, sync, 3)  # compiles or finds kernels; captures a graph; replays it
        facts.keep(f"ms of calls 1, 2, 3 {name} b{batch}", _ms(first))
        times = sorted(wall(model, x, sync, calls))
        found = {"p50": statistics.median(times), "p90": times[int(0.9 * len(times))]}
        start = time.perf_counter()
        for _ in range(calls):
            model(x)
        found["host"] = (time.perf_counter() - start) / calls  # until the call returns
        sync()
        found["back to back"] = (time.perf_counter() - start) / calls
        in_ms = dict(zip(found, _ms(found.values()), strict=True))
        facts.keep(f"wall ms {name} b{batch}", in_ms)


def wall(model: Callable, x: Tensor, sync: Callable[[], None], calls: int) -> list[float]:
    """Return the seconds of each call, the device idle before and after it."""
    times = []
    for _ in range(calls):
        sync()
        start = time.perf_counter()
        model(x)
        sync()
        times.append(time.perf_counter() - start)
    return times


def _ms(seconds) -> list[float]:
    return [round(value * 1e3, 3) for value in seconds]


if __name__ == "__main__":
    main()
