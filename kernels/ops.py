"""Importing this registers the kernels as PyTorch operators: `torch.ops.r2n_kernels.conv1`, ...

Each mirrors its launcher: the same tensors in the same order, the same options by keyword, with a
layout as [N, H, W, C, block_k, R], a tile as [block_m, block_n, block_k, warps, stages, registers,
parts, extra] and a form as the fields of a `ResidentForm` (`dataclasses.astuple`; last ones that
have defaults may be left out). They write into the tensors that their `Op` names and return
nothing, so torch.compile and torch.export take them as they are. There are no gradients.

Unlike the launchers they check what they are given. A wrong shape, layout, tile or device raises
ValueError, a wrong dtype TypeError, when traced as when run; memory that a written tensor shares
with another one shows only when run.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from .call import launch
from .op import Op, all_ops
from .op_checks import check, check_memory

NAMESPACE = "r2n_kernels"
_TYPES = {  # annotation in a launcher -> type in a schema
    "Tensor": "Tensor",
    "Tensor | None": "Tensor?",
    "PlanesLayout": "SymInt[]",
    "PlanesLayout | None": "SymInt[]?",
    "TileConfig": "SymInt[]",
    "ResidentForm": "SymInt[]",
    "int": "SymInt",
    "bool": "bool",
}


def schema_of(op: Op) -> str:
    """Write down, say, "(Tensor x, ..., Tensor(a0!) out, *, SymInt[] tile) -> ()"."""
    tensors: list[str] = []
    options: list[str] = []
    for name, parameter in inspect.signature(op.launcher).parameters.items():
        kind = _TYPES[parameter.annotation]
        if name in op.writes:
            kind += f"(a{op.writes.index(name)}!)"
        (options if parameter.kind is parameter.KEYWORD_ONLY else tensors).append(f"{kind} {name}")
    return f"({', '.join([*tensors, '*', *options] if options else tensors)}) -> ()"


def _register(op: Op) -> None:
    names = list(inspect.signature(op.launcher).parameters)

    def checked(*args: Tensor | None, **options: Any) -> tuple[dict[str, Tensor | None], dict]:
        tensors = dict(zip(names, args, strict=False))
        return tensors, check(op, tensors, options)

    def run(*args: Tensor | None, **options: Any) -> None:
        tensors, options = checked(*args, **options)
        given = {name: t for name, t in tensors.items() if t is not None}
        check_memory(op, given)
        if all(t.numel() for t in given.values()):
            device = next(iter(given.values())).device
            with torch.cuda.device(device if device.type == "cuda" else -1):  # Triton's current one
                launch(op.launcher(**tensors, **options))

    def fake(*args: Tensor | None, **options: Any) -> None:
        checked(*args, **options)

    operator = torch.library.custom_op(
        f"{NAMESPACE}::{op.name}", run, mutates_args=op.writes, schema=schema_of(op)
    )
    operator.register_fake(fake)


for _op in all_ops().values():
    _register(_op)
