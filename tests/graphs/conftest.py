"""A small network, images for it, and what records a model: torch.export, jit.trace, compile."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import r2n_kernels
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
CFG = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
TRACED = (2, 40, 40)  # images, height, width
Outputs = list[Tensor]
Program = Callable[[Tensor], Any]
compiler = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def network(randomize) -> Res2Net:
    network = randomize(Res2Net(SMALL)).eval()
    network.pretrained_cfg = CFG
    return network


def images(n: int, height: int, width: int) -> Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(n))


def as_bytes(n: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)


# How a model is asked for -> the arguments of from_timm, and what the reference says
KINDS: dict[str, tuple[dict[str, Any], Callable[[Res2Net, Tensor], Outputs]]] = {
    "logits": ({}, lambda network, x: [network(x)]),
    "features": (
        {"features_only": True, "out_indices": (0, 2)},
        lambda network, x: network.feature_maps(x)[::2],
    ),
    "embedding": ({}, lambda network, x: [network.forward_features(x).mean((2, 3))]),
}


def build(network: Res2Net, kind: str, dtype: torch.dtype = torch.float32) -> Res2NetModel:
    model = r2n_kernels.from_timm(network, dtype=dtype, **KINDS[kind][0])
    if kind == "embedding":
        model.reset_classifier(0)
    return model


def dynamic(x: Tensor) -> tuple[dict[int, Any]]:
    """Batch, height and width of floats or bytes."""
    sizes = (0, 1, 2) if x.dtype == torch.uint8 else (0, 2, 3)
    return (dict.fromkeys(sizes, torch.export.Dim.DYNAMIC),)


def exported(model: nn.Module, x: Tensor, path: Path) -> Program:
    return torch.export.export(model, (x,), dynamic_shapes=dynamic(x)).module()


def strictly_exported(model: nn.Module, x: Tensor, path: Path) -> Program:
    return torch.export.export(model, (x,), dynamic_shapes=dynamic(x), strict=True).module()


def traced(model: nn.Module, x: Tensor, path: Path) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        # a list of maps as timm's, of which torch.jit.trace wants to be told
        strict = not model.features_only
        # half precision rounds elsewhere in the model's other convolutions: the rule judges it
        exact = model.dtype == torch.float32
        program = torch.jit.trace(model, x, strict=strict, check_trace=exact)
        program.save(path / "model.pt")
    return torch.jit.load(path / "model.pt")


def compiled(model: nn.Module, x: Tensor, path: Path) -> Program:
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, backend="eager")


QUICK = {"export": exported, "strict": strictly_exported, "trace": traced, "compile": compiled}
