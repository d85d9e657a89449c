"""Runs a bundle's code through the stand-in driver, in a process that cannot import Triton, and
prints as JSON where its tensors lay: test_driver.py compares that with what the driver was asked.

    python launching.py model.r2n target log
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

if __name__ == "__main__":
    sys.modules["triton"] = None  # type: ignore[assignment]  # any import of it fails

import torch
from torch import Tensor

from r2n_kernels.bundle import Bundle, open_bundle
from r2n_kernels.bundle.backend import BundleBackend
from r2n_kernels.errors import R2NError
from r2n_kernels.inputs import scale_and_shift

CPU = torch.device("cpu")
STATUS = {
    "cuCtxGetCurrent": 4, "cuDevicePrimaryCtxRetain": 2, "cuCtxSetCurrent": 201,
    "cuModuleLoadData": 200, "cuModuleGetFunction": 500, "cuFuncSetAttribute": 1,
    "cuFuncGetAttribute": 1, "cuFuncSetCacheConfig": 1,
    "cuLaunchKernel": 719,
}  # fmt: skip


class Session:
    """A bundle on one target; each of its runs has a log of its own."""

    def __init__(self, bundle: Bundle, target: str, log: str) -> None:
        self.bundle, self.target, self.log = bundle, target, log
        self.shape = next(s for s in bundle.manifest.shapes if s.target == target)
        shape, channels = self.shape, bundle.manifest.config.in_chans
        self.bytes = torch.zeros(shape.batch, shape.height, shape.width, channels).byte()
        self.floats = torch.zeros(self.bytes.permute(0, 3, 1, 2).shape, dtype=torch.float16)

    def backend(self) -> BundleBackend:
        return BundleBackend(self.bundle, self.bundle.weights(), CPU, self.target)

    def inputs(self) -> dict[str, Tensor]:
        last = torch.channels_last
        wide = torch.zeros(*self.floats.shape[:3], self.floats.shape[3] + 1, dtype=torch.float16)
        return {
            "contiguous": self.floats,
            "channels_last": self.floats.contiguous(memory_format=last),
            "bytes": self.bytes.permute(0, 3, 1, 2),
            "sliced": wide[..., 1:],
        }

    def run(self, backend: BundleBackend, name: str, x: Tensor) -> dict[str, Any]:
        os.environ["STAND_IN_LOG"] = f"{self.log}.{name}"
        given = scale_and_shift((0.5,) * 3, (0.5,) * 3, CPU) if x.dtype == torch.uint8 else None
        plan = backend.plan(x.shape[0], *x.shape[2:])
        backend.prepare(plan, x, given)
        (logits,) = backend.run(plan, x, ["logits"], given)
        (workspace,) = backend._workspaces.values()  # the only place that knows the buffers
        buffers = {"input": x, **workspace.buffers}
        scale, shift = given or (None, None)
        return {
            "buffers": addresses(buffers),
            "weights": {step: addresses(vars(conv)) for step, conv in backend.weights.items()},
            "normalization": addresses({"scale": scale, "shift": shift}),
            "shape": list(logits.shape),
        }

    def failures(self) -> dict[str, str]:
        """Let each function of the driver fail, and return the errors."""
        found = {}
        for call, status in STATUS.items():
            os.environ["STAND_IN_FAIL"] = f"{call} {status}"
            found[call] = self.error_in_a_thread()
        os.environ["STAND_IN_FAIL"] = ""
        return found

    def error_in_a_thread(self) -> str:
        """Return what a thread's first run raises: it has no context yet."""
        errors: list[str] = []

        def work() -> None:
            try:
                self.run(self.backend(), "failing", self.floats)
                errors.append("none")
            except R2NError as error:
                errors.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return errors[0]


def addresses(tensors: dict[str, Tensor | None]) -> dict[str, int | None]:
    return {name: None if t is None else t.data_ptr() for name, t in tensors.items()}


def main() -> None:
    path, target, log = sys.argv[1:]
    session = Session(open_bundle(path), target, log)
    backend = session.backend()
    runs = {name: session.run(backend, name, x) for name, x in session.inputs().items()}
    session.run(backend, "again", session.floats)
    failures = session.failures()
    loaded = [name for name in sys.modules if name.startswith(("triton.", "torch._dynamo"))]
    print(json.dumps({"runs": runs, "failures": failures, "loaded": loaded}))


if __name__ == "__main__":
    main()
