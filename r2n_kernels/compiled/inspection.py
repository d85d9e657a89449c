"""Every instance that forward passes need is compiled, in the order of its first launch."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, KernelError
from ..kernels.targets import KIB, TARGETS, Target
from .build import Cache, Compiled, compile_all
from .instances import Instance, LaunchSites, Request, instances
from .pool import Pool

# Limits of a chip (CUDA programming guide, technical specifications per compute capability; CDNA 3
# ISA guide). Tensor memory (sm_100) is not modelled.
REGISTERS = 65536  # of an NVIDIA SM, 32 bits each
WARP_REGISTERS = 256  # granularity of their allocation to a warp
PARTITIONS = 4  # of an SM or compute unit; a warp lives in one
RESERVED_SHARED = KIB  # of every CTA, from sm_80 on
SHARED_UNIT = 128
VECTOR_REGISTERS, VECTOR_UNIT = 512, 8  # of an AMD SIMD's lane, accumulators included
LDS_UNIT = 512


@dataclass(frozen=True)
class Key:
    """A Key names an entry, unique on its target: a plan's, or an instance's.

    step: "plan", or the first step that launches the instance. words: they describe the instance,
    its kernel first.
    """

    step: str
    batches: tuple[int, ...]
    words: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.step, f"b{','.join(map(str, self.batches))}", *self.words)

    def __str__(self) -> str:
        """Return "plan b256", "layer3.1.conv1 b1,256 conv1 14x14 1024->416 ..."."""
        return " ".join(self.parts)

    @classmethod
    def parse(cls, text: str) -> Key:
        """Invert `str`. Raises ValueError for another text."""
        step, batches, *words = text.split(" ")
        key = cls(step, tuple(map(int, batches[1:].split(","))), tuple(words))
        if str(key) != text:
            raise ValueError(f"'{text}' is no key")
        return key


@dataclass(frozen=True)
class Inspected:
    """Inspected is one instance on one target. `compiled` is None where `error` says why."""

    instance: Instance
    sites: tuple[LaunchSites, ...]
    compiled: Compiled | None
    error: str | None
    cached: bool

    @property
    def step(self) -> str:
        """Return the first step of the plan that launches it."""
        return self.sites[0].steps[0]

    @property
    def key(self) -> Key:
        return Key(self.step, tuple(site.batch for site in self.sites), self.instance.words)

    @property
    def target(self) -> Target:
        return TARGETS[self.instance.target]

    @property
    def occupancy(self) -> Occupancy | None:
        if self.compiled is None:
            return None
        facts = self.compiled.facts
        return occupancy(facts.registers, facts.shared, self.instance.warps, self.target)

    @property
    def faults(self) -> tuple[str, ...]:
        """Return what is wrong with it, in words."""
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
) -> list[Inspected]:
    """Compile what the requests need; an instance that fails says so in its own result.

    kernel: a pattern of kernel names, as in "stage*". started(total) and done() tell progress.
    Raises ConfigError where a request has no plan or the pattern no match.
    """
    sites = _launch_sites(requests, dict(pool.map(instances, requests)), kernel)
    started(len(sites))
    found = {}
    for instance, answer, cached in compile_all(sites, pool, cache):
        failed = isinstance(answer, KernelError)
        found[instance] = (None, str(answer), False) if failed else (answer, None, cached)
        done()
    return [Inspected(instance, tuple(sites[instance]), *found[instance]) for instance in sites]


def _launch_sites(
    requests: Iterable[Request], answers: Mapping[Request, Any], pattern: str
) -> dict[Instance, list[LaunchSites]]:
    """Return the instances of all requests, targets in their order, with where each is launched."""
    sites: dict[Instance, list[LaunchSites]] = {}
    for request in requests:
        if isinstance(answers[request], KernelError):
            raise ConfigError(f"{request.target}, batch {request.batch}: {answers[request]}")
        for instance, site in answers[request]:
            if fnmatch.fnmatch(instance.kernel, pattern):
                sites.setdefault(instance, []).append(site)
    if not sites:
        names = sorted({i.kernel for answer in answers.values() for i, _ in answer})
        raise ConfigError(f"no kernel matches '{pattern}'; there are {', '.join(names)}")
    return sites


@dataclass(frozen=True)
class Occupancy:
    """It says how many CTAs of a kernel fit on an SM at once: an upper bound, not a measurement.

    ctas: 0 where one alone does not fit. warps: share of the SM's warps. limit: what binds first.
    """

    ctas: int
    warps: float
    limit: str


def occupancy(registers: int, shared: int, warps: int, target: Target) -> Occupancy:
    """Return the occupancy by registers per thread, bytes of shared memory and warps per CTA."""
    if target.backend == "cuda":
        warp = _round(registers * target.warp_size, WARP_REGISTERS)
        resident = REGISTERS // PARTITIONS // warp * PARTITIONS if warp else target.sm_warps
        used = _round(shared + RESERVED_SHARED, SHARED_UNIT)
    else:
        per_lane = _round(max(registers, 1), VECTOR_UNIT)
        resident = VECTOR_REGISTERS // per_lane * PARTITIONS
        used = _round(shared, LDS_UNIT)
    limits = {
        "registers": resident // warps,
        "smem": target.sm_shared_bytes // used if used else target.sm_ctas,
        "warps": target.sm_warps // warps,
        "CTAs": target.sm_ctas,
    }
    limit = min(limits, key=lambda name: limits[name])
    ctas = 0 if shared > target.shared_bytes else limits[limit]
    return Occupancy(ctas, ctas * warps / target.sm_warps, limit)


def _round(value: int, unit: int) -> int:
    return -(-value // unit) * unit
