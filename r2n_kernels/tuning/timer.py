"""The GPU's clock."""

from __future__ import annotations

from collections.abc import Callable

import torch
from triton.testing import do_bench

WARMUP_MS, REPEAT_MS = 10, 50


def gpu_timer(run: Callable[[], None]) -> float:
    """Median milliseconds of `run`, which has run before, with a cold L2 each time.

    From a CUDA graph, as in serving: a short kernel would else be timed by its launch.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        run()
    return do_bench(graph.replay, warmup=WARMUP_MS, rep=REPEAT_MS, return_mode="median")
