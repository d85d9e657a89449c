"""Every instance that some forward passes need, compiled, in the order of its first launch."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, KernelError
from ..kernels.targets import TARGETS, Target
from .build import Compiled, compile_instance
from .cache import Cache
from .instances import Instance, Request, Use, instances
from .occupancy import Occupancy, occupancy
from .pool import Pool


@dataclass(frozen=True)
class Row:
    """One instance on one target. `compiled` is None where `error` says why."""

    instance: Instance
    uses: tuple[Use, ...]
    compiled: Compiled | None
    error: str | None
    cached: bool

    @property
    def step(self) -> str:
        """The first step of the plan that launches it."""
        return self.uses[0].steps[0]

    @property
    def name(self) -> str:
        """ "layer3.1.conv1 b1,256 conv1 14x14 1024->416 ...": unique among a target's rows."""
        batches = ",".join(str(use.batch) for use in self.uses)
        return f"{self.step} b{batches} {self.instance.name}"

    @property
    def target(self) -> Target:
        return TARGETS[self.instance.target]

    @property
    def occupancy(self) -> Occupancy:
        facts = self.compiled.facts
        return occupancy(facts.registers, facts.shared, self.instance.warps, self.target)

    @property
    def faults(self) -> tuple[str, ...]:
        """What makes the verdict no, in words."""
        if self.compiled is None:
            return (f"does not compile: {self.error}",)
        facts, found = self.compiled.facts, []
        if facts.spill or facts.spilled:
            found.append(f"spills: {facts.spill} bytes a thread, {facts.spilled} instructions")
        if facts.shared > self.target.shared_bytes:
            limit = self.target.shared_bytes
            found.append(f"shared memory: {facts.shared} bytes, {limit} a CTA at most")
        if self.instance.wants_tensor_cores and not facts.tensor_cores:
            found.append("no tensor-core instruction")
        return tuple(found)


def inspect(
    requests: Sequence[Request],
    pool: Pool,
    *,
    cache: Cache | None = None,
    kernel: str = "*",
    started: Callable[[int], None] = lambda total: None,
    done: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Compile what the requests need; an instance that fails is a row of its own.

    kernel: a pattern of kernel names, as in "stage*". started(total) and done() tell progress.
    Raises ConfigError where a request has no plan or the pattern no match.
    """
    uses = _uses(requests, dict(pool.map(instances, requests)), kernel)
    started(len(uses))
    found = {}
    for instance in uses:
        kept = cache.get(instance) if cache else None
        if kept is not None:
            found[instance] = (kept, None, True)
            done()
    for instance, answer in pool.map(compile_instance, [i for i in uses if i not in found]):
        if isinstance(answer, KernelError):
            found[instance] = (None, str(answer), False)
        else:
            found[instance] = (answer, None, False)
            if cache:
                cache.put(instance, answer)
        done()
    return [Row(instance, tuple(uses[instance]), *found[instance]) for instance in uses]


def _uses(requests: Iterable[Request], answers: dict, pattern: str) -> dict[Instance, list[Use]]:
    """Instances of all requests, targets in their order, with where each is used."""
    uses: dict[Instance, list[Use]] = {}
    for request in requests:
        if isinstance(answers[request], KernelError):
            raise ConfigError(f"{request.target}, batch {request.batch}: {answers[request]}")
        for instance, use in answers[request]:
            if fnmatch.fnmatch(instance.kernel, pattern):
                uses.setdefault(instance, []).append(use)
    if not uses:
        names = sorted({i.kernel for answer in answers.values() for i, _ in answer})
        raise ConfigError(f"no kernel matches '{pattern}'; there are {', '.join(names)}")
    return uses
