"""Whether a graph is being traced: then Python runs once, for all inputs to come."""

from __future__ import annotations

import torch


def traced() -> bool:
    """By torch.compile, torch.export (and so ONNX and AOTInductor), or torch.jit.trace."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
