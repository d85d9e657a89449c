"""Whether a call computes, or is being recorded into a graph that computes later."""

from __future__ import annotations

from typing import NoReturn

import torch

from .errors import ConfigError


def tracing() -> bool:
    """Whether torch.compile, torch.export (so ONNX too) or torch.jit.trace records this call.

    What depends on values, on memory or on threads then stays out of the way: sizes may be symbols,
    and what is looked up now must still be right when the graph runs.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def refuse_script(model: object) -> NoReturn:
    """Raises ConfigError: what `torch.jit.script` of a model says."""
    raise ConfigError(
        f"torch.jit.script cannot read {type(model).__name__}; record a call instead, with "
        "torch.jit.trace(model, x), torch.export.export(model, (x,)) or torch.compile(model)"
    )
