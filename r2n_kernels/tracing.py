"""Whether a call computes, or is being recorded into a graph that computes later."""

from __future__ import annotations

import torch


def tracing() -> bool:
    """Whether torch.compile, torch.export (so ONNX too) or torch.jit.trace records this call.

    What depends on values, on memory or on threads then stays out of the way: sizes may be symbols,
    and what is looked up now must still be right when the graph runs.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
