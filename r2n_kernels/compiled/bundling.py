"""Bundles are built here: plans drafted and kernels compiled in workers, written as one file."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..bundle import file
from ..bundle.codec import encode_plan
from ..bundle.file import digest, packed_bytes, packed_text
from ..bundle.manifest import Code, Manifest, Shape
from ..bundle.ops import OpFacts, placed
from ..config import Res2NetConfig
from ..emulator.parse import parse
from ..errors import ConfigError, KernelError
from ..fold.triton_layout import PackedConv
from ..plan import Plan
from ..version import __version__
from .build import Cache, Compiled, compile_all
from .instances import FORMS, Instance, Request, bound_steps, plan_of, specialise
from .pool import Pool
from .run import IMAGES

# without lines of the source, code does not depend on the folder that the source is in
SETTINGS: Mapping[str, str] = {"TRITON_DISABLE_LINE_INFO": "1"}
KEY = 16  # characters of a code's hash that name it
UNSAVED = ("state_dict", "file", "custom_load")  # of a pretrained_cfg: the weights are here


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle beside code. packed: None leaves the weights to the loader."""

    name: str
    pretrained_cfg: Mapping[str, Any]
    labels: Sequence[str] | None
    packed: Mapping[str, PackedConv] | None


@dataclass(frozen=True)
class Draft:
    """A plan whose launches name instances, by step and by form of the input."""

    plan: Plan
    facts: Mapping[str, OpFacts]
    steps: tuple[tuple[tuple[str, tuple[Launch, ...]], ...], ...]


@dataclass(frozen=True)
class Launch:
    """A launch of an instance. args: as StoredLaunch has them, JSON-like."""

    instance: Instance
    grid: int
    args: tuple[tuple[str, Any], ...]


def draft(work: tuple[Request, int]) -> Draft:
    """Plan so many images with a request's kernels, and list the launches. Runs in a worker."""
    request, images = work
    plan = plan_of(request, images)
    facts: dict[str, OpFacts] = {}
    steps: dict[str, list[tuple[str, tuple[Launch, ...]]]] = {}
    for form, bound in bound_steps(request, plan):
        facts[bound.step.op] = OpFacts.of(bound.op)
        launches = []
        for call in bound.calls():
            instance = specialise(call, request.target)
            args = placed(call, instance.parameters, bound.tensors)
            launches.append(Launch(instance, call.grid, tuple(args.items())))
        steps.setdefault(bound.step.name, []).append((form, tuple(launches)))
    return Draft(plan, facts, tuple(tuple(steps[step.name]) for step in plan.steps))


def build(
    path: str | os.PathLike, contents: Contents, requests: Sequence[Request], pool: Pool,
    cache: Cache | None, *, started: Callable[[int], None] = lambda total: None,
    done: Callable[[], None] = lambda: None,
) -> Manifest:  # fmt: skip
    """Compile what the requests need, and write it with the contents.

    requests: of one config and dtype, each with all FORMS of input. pool, cache: with SETTINGS.
    started(total) and done() tell progress. Raises ConfigError where a request has no plan,
    KernelError where a kernel does not compile, and OSError.
    """
    shapes = {Shape(r.target, r.batch, r.height, r.width): r for r in requests}
    drafts = _drafts([*shapes.values()], pool)
    wanted = dict.fromkeys(
        launch.instance for d in drafts.values() for forms in d.steps
        for _, launches in forms for launch in launches
    )  # fmt: skip
    started(len(wanted))
    codes, parts = _compiled(wanted, pool, cache, done)
    for shape, request in shapes.items():
        for name, images in ((shape.plan, request.batch), (shape.proof, _few(request))):
            parts[name] = packed_text(_plan_text(drafts[request, images], codes))
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
        tuple(shapes), None if contents.packed is None else tuple(contents.packed),
    )  # fmt: skip
    file.write(path, manifest.encode(), parts)
    return manifest


def _few(request: Request) -> int:
    return min(request.batch, IMAGES)


def _drafts(requests: Sequence[Request], pool: Pool) -> dict[tuple[Request, int], Draft]:
    work = [(r, images) for r in requests for images in dict.fromkeys((r.batch, _few(r)))]
    found = {}
    for piece, answer in pool.map(draft, work):
        if isinstance(answer, KernelError):
            raise ConfigError(f"{piece[0].target}, batch {piece[0].batch}: {answer}")
        found[piece] = answer
    for request in requests:
        _check_few(found[request, request.batch], found[request, _few(request)])
    return found


def _check_few(whole: Draft, few: Draft) -> None:
    """Raise KernelError where fewer images would run on other code than the batch."""
    both = ({launch.instance for launch in _launches(d)} for d in (whole, few))
    if other := next(iter(set.symmetric_difference(*both)), None):
        raise KernelError(f"{other.name} is launched on some numbers of images alone")


def _launches(drafted: Draft) -> Iterator[Launch]:
    for forms in drafted.steps:
        for _, launches in forms:
            yield from launches


def _compiled(
    wanted: Mapping[Instance, None], pool: Pool, cache: Cache | None, done: Callable[[], None]
) -> tuple[dict[Instance, Code], dict[str, Tensor]]:
    codes: dict[Instance, Code] = {}
    parts: dict[str, Tensor] = {}
    for instance, answer, _ in compile_all(wanted, pool, cache):
        if isinstance(answer, KernelError):
            raise KernelError(f"{instance.target} {instance.name}: {answer}")
        code = codes[instance] = code_of(instance, answer)
        parts[code.cubin] = packed_bytes(answer.cubin)
        parts[code.ptx] = packed_text(answer.texts["ptx"])
        done()
    return codes, parts


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


def _plan_text(drafted: Draft, codes: Mapping[Instance, Code]) -> str:
    """Return the plan and its launches as JSON; alike steps share their launches."""
    kinds: dict[str, int] = {}
    of_steps = []
    for forms in drafted.steps:
        launches = {
            form: [{"code": codes[one.instance].key, "grid": one.grid, "args": dict(one.args)}
                   for one in launches]
            for form, launches in forms
        }  # fmt: skip
        of_steps.append(kinds.setdefault(json.dumps(launches), len(kinds)))
    facts = {op: list(vars(fact).values()) for op, fact in drafted.facts.items()}
    data = encode_plan(drafted.plan) | {
        "ops": facts, "kinds": of_steps, "launches": [json.loads(kind) for kind in kinds],
    }  # fmt: skip
    return json.dumps(data, separators=(",", ":"))


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
