"""Runs a bundle's PTX in a process that cannot import Triton, nor can its workers.

python without_triton.py model.r2n inputs.pt logits.pt
"""

from __future__ import annotations

import importlib.util
import sys

import torch

from r2n_kernels import create_model


def main() -> None:
    path, inputs, logits = sys.argv[1:]
    spec = importlib.util.find_spec("triton")
    assert spec is None or "blocked" in str(spec.origin), spec
    model = create_model(path, backend="ptx:sm_90")
    given = torch.load(inputs)
    torch.save({name: model(x) for name, x in given.items()}, logits)
    assert "triton" not in sys.modules


if __name__ == "__main__":
    main()
