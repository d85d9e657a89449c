"""A small bundle made without a compiler: real plans and launches, whose code is made up.

Its builder is the product's own, with fakes for what needs Triton: the instance of a launch, its
compilation, and the pool of workers.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from r2n_kernels.bundle.manifest import Manifest
from r2n_kernels.compiled import bundling, drafts
from r2n_kernels.compiled.build import Compiled
from r2n_kernels.compiled.facts import Facts
from r2n_kernels.compiled.instances import Instance
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.kernel_backend import pack
from r2n_kernels.kernels.call import Call
from r2n_kernels.reference import Res2Net, randomize

CONFIG = Res2NetConfig(layers=(2, 1), planes=(13, 18), num_classes=7)
BATCH, SIZE, TARGETS = 2, (33, 40), ("sm_80", "sm_90")
CFG = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3), "num_classes": 7}
LABELS = tuple(f"class {i}" for i in range(7))
FAKE = b"FAKE"  # such code says how wide its parameters are: what the stand-in driver must know
OWN = 2  # parameters of Triton's own, behind those of a launch
MUCH = 65536  # bytes of shared memory that a launch must ask for


class Here:
    """A pool whose worker is this process."""

    jobs = 1

    def map(
        self, function: Callable[[Any], Any], arguments: Sequence[Any]
    ) -> Iterator[tuple[Any, Any]]:
        for argument in arguments:
            yield argument, function(argument)


def specialise(call: Call, target: str) -> Instance:
    """Name the instance of a launch, every number of which stays a parameter."""
    types = {name: "*fp16" if isinstance(v, Tensor) else "i32" for name, v in call.args.items()}
    types |= dict.fromkeys(types.keys() & {"plane"}, "i64")
    names = [*types, *call.constants]
    constants = tuple(((names.index(name),), value) for name, value in call.constants.items())
    signature = (*types.items(), *((name, "constexpr") for name in call.constants))
    return Instance(
        target, call.kernel.fn.__module__, call.kernel.__name__, signature, constants, (),
        call.warps,
    )  # fmt: skip


def compile_all(
    wanted: Iterable[Instance], pool: Any, cache: Any
) -> Iterator[tuple[Instance, Compiled, bool]]:
    for instance in wanted:
        yield instance, compiled(instance), False


def compiled(instance: Instance) -> Compiled:
    kinds = ["u32" if kind == "i32" else "u64" for _, kind in instance.signature
             if kind != "constexpr"]  # fmt: skip
    kinds += ["u64"] * OWN
    shared = MUCH if "conv" in instance.function else 1024
    costs = Facts(32, 0, shared, 1, {}, {}, {}, 0)
    widths = [8 if kind == "u64" else 4 for kind in kinds]
    name = hashlib.sha256(repr(instance).encode()).digest()
    cubin = FAKE + struct.pack(f"<{1 + len(widths)}I", len(widths), *widths) + name
    return Compiled(costs, {"ptx": ptx(instance.function, kinds)}, 0.0, cubin)


def ptx(entry: str, kinds: Sequence[str]) -> str:
    params = ",\n".join(f"\t.param .{kind} {entry}_param_{i}" for i, kind in enumerate(kinds))
    return f".version 8.7\n.visible .entry {entry}(\n{params}\n)\n{{\n\tret;\n}}\n"


def network(seed: int = 0) -> Res2Net:
    return randomize(Res2Net(CONFIG).eval(), seed)


def make(
    path: Path, *, config: Res2NetConfig = CONFIG, dtype: torch.dtype = torch.float16,
    targets: Sequence[str] = TARGETS, batches: Sequence[int] = (BATCH,),
    sizes: Sequence[tuple[int, int]] = (SIZE,), labels: Sequence[str] | None = LABELS,
    cfg: Mapping[str, Any] = CFG, weights: bool = True, name: str = "small",
) -> Manifest:  # fmt: skip
    """Write a bundle of random weights; config: of a network that they fit."""
    state = randomize(Res2Net(config).eval()).state_dict()
    config, packed = pack(config, state, dtype)
    contents = bundling.Contents(name, cfg, labels, packed if weights else None)
    requests = bundling.requests_for(config, dtype, targets, batches, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafts, "specialise", specialise)
        patch.setattr(bundling, "compile_all", compile_all)
        return bundling.build(path, contents, requests, Here(), None)
