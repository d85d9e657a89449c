"""Each library builds a call that maps x to logits; `compiled` has what compiles for minutes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...bundle import open_bundle
from ...bundle.backend import BundleBackend, device_target
from ...create import from_timm
from ...engine.kernel_backend import pack
from ...errors import ConfigError
from ...model.bundled import BundledModel
from ...weights import config_from_module, load_weights

COMPILE_SECONDS = 300.0

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A Case says what is timed."""

    x: Tensor  # [N, C, H, W], on the device and in the dtype of the case
    compile_seconds: float = COMPILE_SECONDS  # that a peer may take to compile itself

    @property
    def dtype(self) -> torch.dtype:
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        return self.x.device


def ours(model: nn.Module, case: Case, backend: str) -> Call:
    return from_timm(model, backend=backend, dtype=case.dtype, device=case.device)


def bundled(model: nn.Module, case: Case, path: str) -> Call:
    """Run a bundle's code on the model's weights, packed as the code wants them."""
    bundle, config = open_bundle(path), config_from_module(model)
    if (bundle.manifest.config, bundle.manifest.dtype) != (config, case.dtype):
        raise ConfigError(f"{bundle} is of another network, or in {bundle.manifest.dtype}")
    target = device_target(bundle, case.device)
    _, packed = pack(config, load_weights(model, config).state, case.dtype)
    backend = partial(BundleBackend, bundle, packed, case.device, target)
    bundle.shape(target, case.x.shape[0], *case.x.shape[2:])
    return BundledModel(bundle, [backend], packed.get("fc"))


def contiguous(model: nn.Module, case: Case) -> nn.Module:
    return model.to(case.device, case.dtype)


def channels_last(model: nn.Module, case: Case) -> nn.Module:
    return contiguous(model, case).to(memory_format=torch.channels_last)


def onnxruntime(model: nn.Module, case: Case) -> Call:
    """Export the model to ONNX Runtime, with all of its graph optimisations."""
    if case.device.type != "cpu" or case.dtype != torch.float32:
        raise ConfigError("is timed in float32 on the CPU alone")
    import onnxruntime

    file = io.BytesIO()
    program: Any = torch.onnx.export(model, (case.x,), dynamo=True, verbose=False)
    program.save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def openvino(model: nn.Module, case: Case) -> Call:
    """Compile the model by OpenVINO for the case's shape."""
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
    # bfloat16 is inside alone; float32 goes in and out, at little cost beside the rest
    return lambda x: torch.from_numpy(request.infer([x.float().numpy()], share_inputs=True)[0])
