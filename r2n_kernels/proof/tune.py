"""`r2n tune` finds tiles that were measured to be faster than the rules', by geometry.

A tile costs the time of the steps that use it, in one forward of a network. Triton compiles each
where it is tried, or a bundle has the code.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

import torch

from ..bundle import Bundle
from ..bundle.manifest import Candidate, Code, Shape
from ..bundle.ops import Kernel
from ..config import Res2NetConfig
from ..engine.triton_target import kernel_target
from ..engine.workspace import compile_call
from ..errors import ConfigError, KernelError
from ..kernels.call import launch
from ..kernels.tiles import TileConfig, TileTable
from ..measure.timing import captured, gpu_clock
from ..plan import Plan, build_plan
from .search import climb, neighbours
from .steps import REPEATABLE, StepCase, cases, random_weights

logger = logging.getLogger("r2n_kernels.proof.tune")

MIN_GAIN = 0.02  # of the rule's time; less is noise
REPEAT_SECONDS = 0.05

Timer = Callable[[Callable[[], None]], float]  # milliseconds of a call
Planner = Callable[..., Plan]  # of a tile table, named `tiles`


@dataclass(frozen=True)
class Measurement:
    """A Measurement has a geometry's rule tile and best tile, with milliseconds per forward."""

    key: str
    rule: TileConfig
    best: TileConfig  # the rule's where nothing was faster by enough
    rule_ms: float
    best_ms: float
    tried: int
    refused: int  # of those tried: did not compile, or had wrong results

    @property
    def improved(self) -> bool:
        return self.best != self.rule

    def __str__(self) -> str:
        head = f"{self.key:44} {_short(self.rule)} {self.rule_ms:.4f} ms"
        if self.improved:
            head += f" -> {_short(self.best)} {self.best_ms:.4f} ms"
        return f"{head} ({self.tried} tried, {self.refused} refused)"


def _short(tile: TileConfig) -> str:
    size = f"{tile.block_m}x{tile.block_n}x{tile.block_k}"
    limit = f" registers {tile.registers}" if tile.registers else ""
    return f"{size} warps {tile.warps} stages {tile.stages}{limit}"


@dataclass(frozen=True, eq=False)
class Recorder(TileTable):
    """A table without tiles notes what a plan asks it: key -> the rule's tile."""

    rules: dict[str, TileConfig] = field(default_factory=dict)

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        self.rules[key] = rule
        return rule


def tune(
    config: Res2NetConfig, dtype: torch.dtype, device: torch.device, batches: Sequence[int],
    height: int, width: int, timer: Timer,
) -> Iterator[Measurement]:  # fmt: skip
    """Measure every geometry of the network's plans, each once: the first batch that has it.

    Raises ConfigError for a device that the kernels do not run on.
    """
    size, target = (height, width), kernel_target(device)
    plans = [partial(build_plan, config, n, *size, dtype, "triton", target=target) for n in batches]
    return _measure_each(plans, device, timer)


def _measure_each(
    plans: Sequence[Planner], device: torch.device, timer: Timer
) -> Iterator[Measurement]:
    done = set()
    for plan in plans:
        recorder = Recorder()
        plan(tiles=recorder)
        for key, rule in recorder.rules.items():
            if key not in done:
                done.add(key)
                yield _measure(plan, key, rule, device, timer)


def _measure(
    plan: Planner, key: str, rule: TileConfig, device: torch.device, timer: Timer
) -> Measurement:
    by_rule = plan(tiles=TileTable({key: rule}))
    steps = steps_of(plan, key, rule)
    packed = random_weights(by_rule.config, by_rule.dtype, device, REPEATABLE)[next(iter(steps))]
    near = partial(
        neighbours, n=packed.weight.shape[-1], itemsize=by_rule.dtype.itemsize,
        target=kernel_target(device),
    )  # fmt: skip

    def tried(tile: TileConfig) -> Iterator[StepCase]:
        # built anew, because a tile's block_k is part of how planes are laid out
        tiled = plan(tiles=TileTable({key: tile}))
        return cases(tiled, device, only=lambda step: step.name in steps, scale=REPEATABLE)

    return _chosen(key, rule, near, tried, steps, timer)


def _chosen(
    key: str, rule: TileConfig, near: Callable[[TileConfig], Iterable[TileConfig]],
    tried: Callable[[TileConfig], Iterator[StepCase]], steps: Mapping[str, int], timer: Timer,
) -> Measurement:  # fmt: skip
    """Climb from the rule. tried: gives the steps with a tile; steps: how many are alike."""

    def cost(tile: TileConfig) -> float:
        return _cost(tried(tile), tile, steps, timer)

    best, costs = climb(rule, cost, near, MIN_GAIN)
    rule_ms, best_ms = costs[rule], costs[best]
    if best != rule:  # the best of many may have been lucky: both once more, side by side
        rule_ms, best_ms = cost(rule), cost(best)
        if best_ms > rule_ms * (1 - MIN_GAIN):
            best, best_ms = rule, rule_ms
    refused = sum(value == inf for value in costs.values())
    return Measurement(key, rule, best, rule_ms, best_ms, len(costs), refused)


def tune_stored(
    bundle: Bundle, target: str, device: torch.device, kernel: Callable[[Code], Kernel],
    timer: Timer,
) -> Iterator[Measurement]:  # fmt: skip
    """Measure the tiles that a bundle has code for, each geometry once, without a compiler.

    kernel: what launches a code on the device. Raises ConfigError for a bundle without candidates.
    """
    found: dict[tuple[Shape, str], list[Candidate]] = {}
    for candidate in bundle.manifest.candidates:
        if candidate.shape.target == target:
            found.setdefault((candidate.shape, candidate.geometry), []).append(candidate)
    if not found:
        raise ConfigError(f"{bundle} has no tiles to try on {target}: build it with --candidates")
    for (shape, key), candidates in found.items():
        yield _measure_stored(bundle, shape, key, candidates, device, kernel, timer)


def _measure_stored(
    bundle: Bundle, shape: Shape, key: str, candidates: Sequence[Candidate], device: torch.device,
    kernel: Callable[[Code], Kernel], timer: Timer,
) -> Measurement:  # fmt: skip
    by_rule = bundle.plan(shape)
    stored = {candidate.tile: bundle.candidate(candidate) for candidate in candidates}
    steps = _differing(by_rule.plan, next(iter(stored.values())).plan)
    rule = next(s.options["tile"] for s in by_rule.plan.steps if s.name in steps)

    def tried(tile: TileConfig) -> Iterator[StepCase]:
        one = stored.get(tile, by_rule)
        return cases(
            one.plan, device, only=lambda step: step.name in steps, scale=REPEATABLE,
            ops=one.ops(kernel),
        )  # fmt: skip

    return _chosen(key, rule, lambda _: stored, tried, steps, timer)


def steps_of(plan: Planner, key: str, rule: TileConfig) -> dict[str, int]:
    """Name a step of each kind that takes the key's tile, and count those alike."""
    other = dataclasses.replace(rule, warps=8 if rule.warps == 4 else 4)  # no layout depends on it
    return _differing(*(plan(tiles=TileTable({key: tile})) for tile in (rule, other)))


def _differing(before: Plan, after: Plan) -> dict[str, int]:
    """Name a step of each kind that has another tile in another plan, and count those alike."""
    tiles = {step.name: step.options.get("tile") for step in after.steps}
    return {
        step.name: count
        for step, count in before.distinct_steps()
        if not step.aside and step.options.get("tile") != tiles[step.name]
    }


def _cost(
    tried: Iterator[StepCase], tile: TileConfig, steps: Mapping[str, int], timer: Timer
) -> float:
    """Return the milliseconds of the steps in one forward; inf where one is refused."""
    total = 0.0
    for case in tried:
        reason = _refusal(case)
        if reason:
            logger.info("%s: %s refused: %s", case.step.name, _short(tile), reason)
            return inf
        total += steps[case.step.name] * timer(partial(launch, case.bound.calls()))
    return total


def _refusal(case: StepCase) -> str:
    """Say why the step cannot have its tile; empty where it compiles and its results are right."""
    try:
        for call in case.bound.calls():
            compile_call(call)
    except KernelError as error:
        return str(error)
    verdict = case.verdict()
    return "" if verdict.passed else f"error {verdict.error:.1e}, limit {verdict.limit:.1e}"


def gpu_timer(run: Callable[[], None]) -> float:
    """Return the median milliseconds of `run`, which has run before, with a cold L2 each time."""
    return statistics.median(gpu_clock(captured(run), REPEAT_SECONDS)()) * 1e3
