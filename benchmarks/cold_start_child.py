"""This process loads a bundle's network and computes its first logits: `cold_start` times it.

It imports nothing of weight before it is told to, and prints what it took as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ..measure.parts import Parts

HOST = "cpu"


def run(start: float, path: str, device: str, target: str, backend: str) -> dict[str, Any]:
    """Return seconds by part, and peaks of memory in bytes. start: when the process was started.

    target: whose code a stand-in driver gets; on a GPU the bundle chooses. backend: "bundle", or
    "triton", which compiles. Raises BundleError, and what else a model raises.
    """
    parts = Parts(start)
    parts.done("python")
    import torch

    parts.done("import torch")
    from ..bundle import open_bundle
    from ..bundle.backend import BundleBackend, device_target
    from ..model.bundled import BundledModel

    parts.done("import r2n_kernels")
    place = torch.device(device)
    if device != HOST:
        torch.zeros(1, device=place)
        torch.cuda.synchronize(place)
        parts.done("CUDA's context")
    bundle = open_bundle(path)
    manifest = bundle.manifest
    chosen = target if device == HOST else device_target(bundle, place)
    shape = next(one for one in manifest.shapes if one.target == chosen)
    parts.done("open")
    packed = bundle.weights()

    def made() -> Any:
        if backend == "bundle":
            return BundleBackend(bundle, packed, place, chosen)
        from ..engine.triton_backend import JitBackend

        return JitBackend(manifest.config, packed, manifest.dtype, place)

    model = BundledModel(bundle, [made], packed.get("fc"))
    parts.done("weights")
    size = (shape.batch, manifest.config.in_chans, shape.height, shape.width)
    model(torch.zeros(size, dtype=manifest.dtype, device=place)).cpu()
    parts.done("first logits")
    from .memory import process_peak

    gpu = None if device == HOST else torch.cuda.max_memory_allocated(place)
    return {"shape": str(shape), "seconds": parts.seconds, "peak": process_peak(), "gpu peak": gpu}


if __name__ == "__main__":
    started, *rest = sys.argv[1:]
    print(json.dumps(run(float(started), *rest)))
