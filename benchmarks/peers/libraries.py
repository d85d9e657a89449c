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
STREAMS = 2  # of OpenVINO for throughput

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
    """Run it as commands do: nobody changes the modules, as nobody can those of compiled peers."""
    return from_timm(model, backend=backend, dtype=case.dtype, device=case.device, frozen=True)


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
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def openvino(model: nn.Module, case: Case) -> Call:
    """Compile the model by OpenVINO for the case's shape, a request at a time."""
    compiled = _openvino(model, case, case.x, {"PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    # bfloat16 is inside alone; float32 goes in and out, at little cost beside the rest
    return lambda x: torch.from_numpy(request.infer([x.float().numpy()], share_inputs=True)[0])


def openvino_streams(model: nn.Module, case: Case) -> Call:
    """Compile for throughput: parts of a batch are requests that run side by side."""
    batch = case.x.shape[0]
    if batch % STREAMS or torch.get_num_threads() < STREAMS:
        raise ConfigError(f"needs {STREAMS} threads, and a batch of {STREAMS} equal parts")
    part = batch // STREAMS
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": STREAMS}
    compiled = _openvino(model, case, case.x[:part], hints)
    requests = [compiled.create_infer_request() for _ in range(STREAMS)]

    def call(x: Tensor) -> Tensor:
        parts = [images.numpy() for images in x.float().contiguous().split(part)]
        for request, images in zip(requests, parts, strict=True):
            request.start_async([images], share_inputs=True)
        for request in requests:
            request.wait()
        # a copy, as the next call writes into the same
        return torch.cat([torch.from_numpy(r.get_output_tensor(0).data) for r in requests])

    return call


def _openvino(model: nn.Module, case: Case, x: Tensor, hints: dict[str, Any]) -> Any:
    if case.device.type != "cpu" or case.dtype == torch.float16:
        raise ConfigError("is timed in float32 and bfloat16 on the CPU alone")
    import openvino

    from ...engine.openvino_compile import own_signal_stack

    converted = openvino.convert_model(torch.export.export(model, (x.float(),)))
    settings = {
        **hints,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # else bfloat16 is its own choice where the CPU has it
        "INFERENCE_PRECISION_HINT": "f32" if case.dtype == torch.float32 else "bf16",
    }
    with own_signal_stack():
        return openvino.Core().compile_model(converted, "CPU", settings)
