"""Workers draft plans for a bundle: their launches name instances that are yet to compile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..bundle.codec import encode_plan
from ..bundle.manifest import Code
from ..bundle.ops import OpFacts, placed
from ..errors import ConfigError, KernelError
from ..plan import Plan
from .instances import Instance, Request, bound_steps, plan_of, specialise
from .pool import Pool
from .run import IMAGES


@dataclass(frozen=True)
class Draft:
    """A Draft is a plan whose launches name instances, by step and by form of the input."""

    plan: Plan
    facts: Mapping[str, OpFacts]
    steps: tuple[tuple[tuple[str, tuple[Launch, ...]], ...], ...]


@dataclass(frozen=True)
class Launch:
    """A Launch calls an instance. args: as StoredLaunch has them, JSON-like."""

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


def few(request: Request) -> int:
    return min(request.batch, IMAGES)


def draft_all(requests: Sequence[Request], pool: Pool) -> dict[tuple[Request, int], Draft]:
    work = [(r, images) for r in requests for images in dict.fromkeys((r.batch, few(r)))]
    found = {}
    for piece, answer in pool.map(draft, work):
        if isinstance(answer, KernelError):
            raise ConfigError(f"{piece[0].target}, batch {piece[0].batch}: {answer}")
        found[piece] = answer
    for request in requests:
        _check_few(found[request, request.batch], found[request, few(request)])
    return found


def _check_few(whole: Draft, few: Draft) -> None:
    """Raise KernelError where fewer images would run on other code than the batch."""
    both = ({launch.instance for launch in launches_of(d)} for d in (whole, few))
    if other := next(iter(set.symmetric_difference(*both)), None):
        raise KernelError(f"{other.name} is launched on some numbers of images alone")


def launches_of(drafted: Draft) -> Iterator[Launch]:
    for forms in drafted.steps:
        for _, launches in forms:
            yield from launches


def plan_text(drafted: Draft, codes: Mapping[Instance, Code]) -> str:
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
