"""Bundles are built here: plans drafted and kernels compiled in workers, written as one file."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..bundle import file
from ..bundle.file import digest, packed_bytes, packed_text
from ..bundle.manifest import Candidate, Code, Manifest, Shape
from ..config import Res2NetConfig
from ..emulator.parse import parse
from ..errors import KernelError
from ..fold.triton_layout import PackedConv
from ..kernels.targets import TARGETS
from ..version import __version__
from .build import Cache, Compiled, compile_all
from .candidates import draft_candidates
from .drafts import draft_all, few, launches_of, plan_text
from .instances import FORMS, Instance, Request
from .pool import Pool

logger = logging.getLogger("r2n_kernels.compiled")

# without lines of the source, code does not depend on the folder that the source is in
SETTINGS: Mapping[str, str] = {"TRITON_DISABLE_LINE_INFO": "1"}
KEY = 16  # characters of a code's hash that name it
UNSAVED = ("state_dict", "file", "custom_load")  # of a pretrained_cfg: the weights are here


@dataclass(frozen=True)
class Contents:
    """Contents go into a bundle beside code. packed: None leaves the weights to the loader."""

    name: str
    pretrained_cfg: Mapping[str, Any]
    labels: Sequence[str] | None
    packed: Mapping[str, PackedConv] | None


def build(
    path: str | os.PathLike, contents: Contents, requests: Sequence[Request], pool: Pool,
    cache: Cache | None, *, candidates: bool = False,
    started: Callable[[int], None] = lambda total: None,
    done: Callable[[], None] = lambda: None,
) -> Manifest:  # fmt: skip
    """Compile what the requests need, and write it with the contents.

    requests: of one config and dtype, each with all FORMS of input. pool, cache: with SETTINGS.
    candidates: add plans with another tile for one geometry, for `r2n tune`; those that do not
    compile are left out. started(total) and done() tell progress. Raises ConfigError where a
    request has no plan,
    KernelError where a kernel does not compile, and OSError.
    """
    drafts = draft_all([*dict.fromkeys(requests)], pool)
    shapes = {Shape(r.target, r.batch, r.height, r.width): r for r in requests}
    extra = dict(draft_candidates(requests, pool)) if candidates else {}
    every = [*drafts.values(), *(d for found in extra.values() for *_, d in found)]
    wanted = dict.fromkeys(launch.instance for d in every for launch in launches_of(d))
    needed = {launch.instance for d in drafts.values() for launch in launches_of(d)}
    started(len(wanted))
    codes, parts = _compiled(wanted, needed, pool, cache, done)
    for shape, request in shapes.items():
        for name, images in ((shape.plan, request.batch), (shape.proof, few(request))):
            parts[name] = packed_text(plan_text(drafts[request, images], codes))
    listed = []
    for shape, request in shapes.items():
        for geometry, tile, drafted in extra.get(request, ()):
            if all(launch.instance in codes for launch in launches_of(drafted)):
                listed.append(Candidate(shape, geometry, tile))
                parts[listed[-1].plan] = packed_text(plan_text(drafted, codes))
    for step, conv in (contents.packed or {}).items():
        tensors = vars(conv).items()
        parts |= {f"weights/{step}/{part}": t for part, t in tensors if t is not None}
    if contents.labels is not None:
        parts["labels"] = packed_text(json.dumps(list(contents.labels)))
    first = requests[0]
    manifest = Manifest(
        contents.name, next(iter(drafts.values())).plan.config, first.dtype,
        {k: v for k, v in contents.pretrained_cfg.items() if k not in UNSAVED}, _versions(),
        {code.key: code for code in sorted(codes.values(), key=lambda code: code.key)},
        tuple(shapes), None if contents.packed is None else tuple(contents.packed), tuple(listed),
    )  # fmt: skip
    file.write(path, manifest.encode(), parts)
    return manifest


def _compiled(
    wanted: Iterable[Instance], needed: Container[Instance], pool: Pool, cache: Cache | None,
    done: Callable[[], None],
) -> tuple[dict[Instance, Code], dict[str, Tensor]]:  # fmt: skip
    """Return the code of the wanted instances, without those that are not needed and fail."""
    codes: dict[Instance, Code] = {}
    parts: dict[str, Tensor] = {}
    for instance, answer, _ in compile_all(wanted, pool, cache):
        done()
        if isinstance(answer, KernelError) or (reason := _refusal(instance, answer)):
            reason = str(answer) if isinstance(answer, KernelError) else reason
            if instance in needed:
                raise KernelError(f"{instance.target} {instance.name}: {reason}")
            logger.info("left out: %s %s: %s", instance.target, instance.name, reason)
            continue
        code = codes[instance] = code_of(instance, answer)
        parts[code.cubin] = packed_bytes(answer.cubin)
        parts[code.ptx] = packed_text(answer.texts["ptx"])
    return codes, parts


def _refusal(instance: Instance, compiled: Compiled) -> str:
    """Say why a compiled instance cannot be launched; empty where it can."""
    limit, shared = TARGETS[instance.target].shared_bytes, compiled.facts.shared
    return f"{shared} bytes of shared memory, {limit} at most" if shared > limit else ""


def code_of(instance: Instance, compiled: Compiled) -> Code:
    """Describe a compiled instance; what is alike has one key."""
    program = parse(compiled.texts["ptx"])
    kinds = [kind for _, kind in program.params]
    names = [*instance.parameters, *("" for _ in kinds[len(instance.parameters) :])]
    facts = (
        instance.function, instance.target, instance.warps, compiled.facts.shared,
        compiled.facts.registers, tuple(zip(names, kinds, strict=True)),
    )  # fmt: skip
    ptx = compiled.texts["ptx"].encode()
    key = digest(repr(facts).encode() + compiled.cubin + ptx)[:KEY]
    return Code(key, *facts)


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "triton")}
    return {"r2n_kernels": __version__, **versions}


def requests_for(
    config: Res2NetConfig, dtype: torch.dtype, targets: Sequence[str], batches: Sequence[int],
    sizes: Sequence[tuple[int, int]], schedule: str = "auto",
) -> list[Request]:  # fmt: skip
    """Return the forward passes of a bundle, each with all forms of input."""
    return [
        Request(config, batch, *size, dtype, target, schedule, forms=FORMS)
        for target in dict.fromkeys(targets)
        for size in dict.fromkeys(sizes)
        for batch in dict.fromkeys(batches)
    ]
