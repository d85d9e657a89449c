"""What a tile costs: the time of the steps that use it, in one forward of a network."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

import torch
from triton.errors import TritonError

from ...config import Res2NetConfig
from ...engine import TritonOptions
from ...engine.triton_backend import TritonBackend
from ...engine.triton_ops import bind
from ...fold.triton_layout import PackedConv
from ...kernels.call import Calls, launch
from ...kernels.device import interpreted
from ...kernels.op import all_ops
from ...kernels.tiles import TileConfig, TileTable
from ...plan import Plan, Step, build_plan
from ...reference import Res2Net, randomize
from ..selftest.steps import against_twin, random_buffers
from .search import climb, neighbours

logger = logging.getLogger("r2n_kernels.proof.tuning")

MIN_GAIN = 0.02  # of the rule's time; less is noise
# Steps are timed again and again in place: with small weights their sums do not overflow.
WEIGHT_SCALE = 2.0**-6

Timer = Callable[[Callable[[], None]], float]  # milliseconds of a call


@dataclass(frozen=True)
class Measurement:
    """One geometry: the rule's tile and the best one, with their milliseconds a forward."""

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
    """A table without tiles that notes what a plan asks it: key -> the rule's tile."""

    rules: dict[str, TileConfig] = field(default_factory=dict)

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        self.rules[key] = rule
        return rule


class Network:
    """A network with seeded random weights, packed for one device and dtype."""

    def __init__(
        self, config: Res2NetConfig, dtype: torch.dtype, device: torch.device,
        schedule: str = "auto",
    ) -> None:  # fmt: skip
        """Raises ConfigError for a device that the kernels do not run on."""
        state = randomize(Res2Net(config).eval(), 0).state_dict()
        options = TritonOptions(schedule=schedule)
        backend = TritonBackend(config, state, dtype, device, options)
        self.config, self.dtype, self.device, self.schedule = config, dtype, device, schedule
        self.target = backend.target
        self.weights = {name: _scaled(conv) for name, conv in backend.weights.items()}

    def plan(self, batch: int, height: int, width: int, tiles: TileTable) -> Plan:
        return build_plan(
            self.config, batch, height, width, self.dtype, "triton",
            target=self.target, tiles=tiles, schedule=self.schedule,
        )  # fmt: skip


def tune(
    network: Network, batches: Sequence[int], height: int, width: int, timer: Timer,
    gain: float = MIN_GAIN,
) -> Iterator[Measurement]:  # fmt: skip
    """Measure every geometry of the network's plans, each once: the first batch that has it."""
    done = set()
    for batch in batches:
        plan = partial(network.plan, batch, height, width)
        recorder = Recorder()
        plan(recorder)
        for key, rule in recorder.rules.items():
            if key not in done:
                done.add(key)
                yield _measure(network, plan, key, rule, timer, gain)


def _measure(
    network: Network, plan: Callable[[TileTable], Plan], key: str, rule: TileConfig, timer: Timer,
    gain: float,
) -> Measurement:  # fmt: skip
    steps = _steps_of(plan, key, rule)
    n = int(key.split(" n=")[1].split()[0])

    def cost(tile: TileConfig) -> float:
        # built anew, because a tile's block_k is part of how planes are laid out
        return _cost(network, plan(TileTable({key: tile})), steps, timer)

    near = partial(neighbours, n=n, itemsize=network.dtype.itemsize, target=network.target)
    best, costs = climb(rule, cost, near, gain)
    rule_ms, best_ms = costs[rule], costs[best]
    if best != rule:  # the best of many may have been lucky: both once more, side by side
        rule_ms, best_ms = cost(rule), cost(best)
        if best_ms > rule_ms * (1 - gain):
            best, best_ms = rule, rule_ms
    refused = sum(value == inf for value in costs.values())
    return Measurement(key, rule, best, rule_ms, best_ms, len(costs), refused)


def _steps_of(plan: Callable[[TileTable], Plan], key: str, rule: TileConfig) -> Mapping[int, int]:
    """The steps that take the key's tile: index of one of a kind -> how many there are of it."""
    other = dataclasses.replace(rule, warps=8 if rule.warps == 4 else 4)  # no layout depends on it
    before, after = (plan(TileTable({key: tile})) for tile in (rule, other))
    kinds: dict[object, list[int]] = {}
    for index, (one, two) in enumerate(zip(before.steps, after.steps, strict=True)):
        if one.options.get("tile") != two.options.get("tile"):
            what = all_ops()[one.op].twin_options(one.options)
            kinds.setdefault((one.op, one.convs, *what.items()), []).append(index)
    return {indices[0]: len(indices) for indices in kinds.values()}


def _cost(network: Network, plan: Plan, steps: Mapping[int, int], timer: Timer) -> float:
    """Milliseconds of the steps in one forward; inf where one is refused."""
    total = 0.0
    for index, count in steps.items():
        step = plan.steps[index]
        buffers = random_buffers(plan, step, network.device)
        calls = bind(step, buffers, network.weights).calls()
        reason = _refusal(network, step, buffers, calls)
        if reason:
            logger.info("%s: %s refused: %s", step.name, _short(step.options["tile"]), reason)
            return inf
        total += count * timer(partial(launch, calls))
    return total


def _refusal(network: Network, step: Step, buffers, calls: Calls) -> str:
    """Why the step cannot have its tile; empty where it compiles and its results are right."""
    try:
        for call in () if interpreted() else calls:
            call.compile()
    except (TritonError, RuntimeError) as error:  # the latter from LLVM's and MLIR's passes
        return f"{type(error).__name__}: {error}"
    verdict = against_twin(step, buffers, network.weights, network.dtype)
    return "" if verdict.passed else f"error {verdict.error:.1e}, limit {verdict.limit:.1e}"


def _scaled(conv: PackedConv) -> PackedConv:
    shortcut = None if conv.shortcut is None else conv.shortcut * WEIGHT_SCALE
    return PackedConv(conv.weight * WEIGHT_SCALE, conv.bias * WEIGHT_SCALE, shortcut)
