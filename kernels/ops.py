"""The kernels as PyTorch operators: `torch.ops.r2n_kernels.conv1`, ... Importing registers them.

Each mirrors its launcher: the same tensors in the same order, the same options by keyword, with a
layout as [N, H, W, C, block_k, R] and a tile as [block_m, block_n, block_k, warps, stages]
(`dataclasses.astuple` of a `PlanesLayout` and a `TileConfig`). They write into the tensors that
`WRITES` names and return nothing, so torch.compile and torch.export take them as they are. There
are no gradients.

Unlike the launchers they check what they are given. A wrong shape, layout, tile or device raises
ValueError, a wrong dtype TypeError, when traced as when run; memory that a written tensor shares
with another one shows only when run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from . import op_checks
from .avgpool import avgpool
from .call import Calls, launch
from .conv import conv
from .conv1 import conv1
from .conv3 import conv3, conv3_project
from .first_stage import first_stage
from .global_pool import global_pool
from .linear import linear
from .maxpool import maxpool
from .prepare import prepare
from .stage import stage

NAMESPACE = "r2n_kernels"
WRITES: Mapping[Callable[..., Calls], tuple[str, ...]] = {  # launcher -> tensors that it changes
    prepare: ("image",),
    conv: ("out",),
    maxpool: ("out",),
    conv1: ("planes", "y"),
    stage: ("planes", "y"),
    first_stage: ("y",),
    conv3: ("out",),
    conv3_project: ("out",),
    avgpool: ("out",),
    global_pool: ("out",),
    linear: ("out",),
}
_TYPES = {  # annotation in a launcher -> type in a schema
    "Tensor": "Tensor",
    "Tensor | None": "Tensor?",
    "PlanesLayout": "SymInt[]",
    "PlanesLayout | None": "SymInt[]?",
    "TileConfig": "SymInt[]",
    "int": "SymInt",
    "bool": "bool",
}


def schema_of(launcher: Callable[..., Calls], writes: tuple[str, ...]) -> str:
    """(Tensor x, ..., Tensor(a0!) out, *, SymInt[] tile) -> ()"""
    tensors, options = [], []
    for name, parameter in inspect.signature(launcher).parameters.items():
        kind = _TYPES[parameter.annotation]
        if name in writes:
            kind += f"(a{writes.index(name)}!)"
        (options if parameter.kind is parameter.KEYWORD_ONLY else tensors).append(f"{kind} {name}")
    return f"({', '.join([*tensors, '*', *options] if options else tensors)}) -> ()"


def _register(launcher: Callable[..., Calls], writes: tuple[str, ...]) -> None:
    name, signature = launcher.__name__, inspect.signature(launcher)

    def check(*args: Tensor | None, **options: Any) -> tuple[dict[str, Tensor | None], dict]:
        tensors = dict(zip(signature.parameters, args, strict=False))
        return tensors, op_checks.check(name, tensors, options)

    def run(*args: Tensor | None, **options: Any) -> None:
        tensors, options = check(*args, **options)
        given = {key: t for key, t in tensors.items() if t is not None}
        op_checks.check_memory(name, given, writes)
        if all(t.numel() for t in given.values()):
            device = next(iter(given.values())).device
            with torch.cuda.device(device if device.type == "cuda" else -1):  # Triton's current one
                launch(launcher(**tensors, **options))

    def fake(*args: Tensor | None, **options: Any) -> None:
        check(*args, **options)

    op = torch.library.custom_op(
        f"{NAMESPACE}::{name}", run, mutates_args=writes, schema=schema_of(launcher, writes)
    )
    op.register_fake(fake)


for _launcher, _writes in WRITES.items():
    _register(_launcher, _writes)
