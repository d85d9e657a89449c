"""torch.compile for the case's very shape, in channels_last, with CUDA graphs on a GPU.

It has a limit of time, beyond which torch's workers end what they have begun. On a GPU a call
overwrites what an earlier one returned: who keeps an output copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ..limit import within
from . import eager

if TYPE_CHECKING:
    from . import Case

GRAPHS = {"triton.cudagraphs": True}


def frozen(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    """Its best: weights are constants, into which BatchNorm is folded. It takes a minute or two."""
    options = GRAPHS if case.device.type == "cuda" else {}
    return _compile(model, case, options, freezing=True)


def graphed(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    """As users have it from mode="reduce-overhead"."""
    _require_gpu(case)
    return _compile(model, case, GRAPHS, freezing=False)


def max_autotune(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    """`frozen`, with the best of hundreds of kernels that are compiled and timed: many minutes."""
    _require_gpu(case)
    from torch._inductor import list_mode_options

    return _compile(model, case, list_mode_options("max-autotune"), freezing=True)


def forget() -> None:
    """Give up all that is compiled, and the memory of its graphs."""
    torch.compiler.reset()


def _compile(
    model: nn.Module, case: Case, options: Mapping[str, object], *, freezing: bool
) -> Callable[[Tensor], Tensor]:
    """Raises TimeoutError after the case's `compile_seconds`."""
    from torch._inductor import config  # here: it takes seconds

    model = eager.channels_last(model, case)
    compiled = torch.compile(model, options=dict(options), dynamic=False)
    x = case.x.contiguous(memory_format=torch.channels_last)
    # among the options it would do nothing: who traces the model looks at the setting itself
    with config.patch(freezing=freezing):
        within(case.compile_seconds, lambda: compiled(x), "compiling")
    return compiled


def _require_gpu(case: Case) -> None:
    if case.device.type != "cuda":
        raise ConfigError("is timed on a GPU alone")
