"""torch.compile builds for the case's very shape, in channels_last; on a GPU with CUDA graphs.

It has a limit of time, beyond which torch's workers end what they have begun. On a GPU a call
overwrites what an earlier one returned: who keeps an output copies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...errors import ConfigError
from .libraries import Call, Case, channels_last
from .limit import within

GRAPHS = {"triton.cudagraphs": True}


def frozen(model: nn.Module, case: Case) -> Call:
    """Compile at its best: weights constant, BatchNorm folded in. It takes a minute or two."""
    options = GRAPHS if case.device.type == "cuda" else {}
    return _compile(model, case, options, freezing=True)


def graphed(model: nn.Module, case: Case) -> Call:
    """Compile as users do who ask for mode="reduce-overhead"."""
    _require_gpu(case)
    return _compile(model, case, GRAPHS, freezing=False)


def max_autotune(model: nn.Module, case: Case) -> Call:
    """Compile as `frozen` does, and time hundreds of kernels for the best: many minutes."""
    _require_gpu(case)
    from torch._inductor import list_mode_options

    return _compile(model, case, list_mode_options("max-autotune"), freezing=True)


def forget() -> None:
    """Give up all that is compiled, and the memory of its graphs."""
    torch.compiler.reset()


def _compile(model: nn.Module, case: Case, options: Mapping[str, Any], *, freezing: bool) -> Call:
    """Compile. Raises TimeoutError after the case's `compile_seconds`."""
    from torch._inductor import config  # here: it takes seconds

    compiled = torch.compile(channels_last(model, case), options=dict(options), dynamic=False)
    x = case.x.contiguous(memory_format=torch.channels_last)
    # among the options it would do nothing: who traces the model looks at the setting itself
    with config.patch(freezing=freezing):
        within(case.compile_seconds, lambda: compiled(x), "compiling")
    return compiled


def _require_gpu(case: Case) -> None:
    if case.device.type != "cuda":
        raise ConfigError("is timed on a GPU alone")
