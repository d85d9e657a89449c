"""ONNX Runtime on the CPU, with all of its graph optimisations."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import ConfigError

if TYPE_CHECKING:
    from . import Case


def build(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    if case.device.type != "cpu" or case.dtype != torch.float32:
        raise ConfigError("is timed in float32 on the CPU alone")
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(model, (case.x,), dynamo=True, verbose=False).save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])
