"""OpenVINO on the CPU, compiled for the shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...errors import ConfigError

if TYPE_CHECKING:
    from . import Case


def build(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    if case.device.type != "cpu" or case.dtype == torch.float16:
        raise ConfigError("is timed in float32 and bfloat16 on the CPU alone")
    import openvino

    converted = openvino.convert_model(torch.export.export(model, (case.x.float(),)))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",  # one request at a time, as the others run
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # else bfloat16 is its own choice where the CPU has it
        "INFERENCE_PRECISION_HINT": "f32" if case.dtype == torch.float32 else "bf16",
    }
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    request = compiled.create_infer_request()

    def call(x: Tensor) -> Tensor:
        """bfloat16 is inside alone; float32 goes in and out, at little cost beside the rest."""
        return torch.from_numpy(request.infer([x.float().numpy()], share_inputs=True)[0])

    return call
