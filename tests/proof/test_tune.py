"""The measuring loop on a tiny network: real kernels (interpreted without a GPU), a made-up clock.

The clock reads what a launch was told and says how long that takes.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.create import from_timm
from r2n_kernels.engine import TritonOptions
from r2n_kernels.engine.triton_target import kernel_target
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.conv1 import conv1
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.op import all_ops
from r2n_kernels.kernels.tiles import TileConfig, TileTable
from r2n_kernels.plan import Plan, build_plan
from r2n_kernels.proof import tune as tuning
from r2n_kernels.proof.parity import check_parity
from r2n_kernels.proof.tune import tune
from r2n_kernels.reference import Res2Net, randomize

DEVICE = torch.device("cpu") if interpreted() else torch.device("cuda", 0)
HALF = torch.float16
TINY = Res2NetConfig((2, 1), planes=(9, 14), scale=2, num_classes=3)
CONV1 = "conv1 m=64 k=36 n=16 float16"  # of layer1.1


def plan(tiles: TileTable | None = None, size: int = 32, config: Res2NetConfig = TINY) -> Plan:
    shape, target = (1, size, size), kernel_target(DEVICE)
    return build_plan(config, *shape, HALF, "triton", target=target, tiles=tiles)


def rules(**options) -> dict[str, TileConfig]:
    """Return the rule's tile of every geometry of the plan."""
    recorder = tuning.Recorder()
    plan(recorder, **options)
    return recorder.rules


@pytest.fixture
def few(monkeypatch):
    """Only neighbours in block_k, so that a test takes seconds."""
    all_neighbours = tuning.neighbours

    def near(tile, **options):
        same = ("block_m", "block_n", "warps", "stages")
        found = all_neighbours(tile, **options)
        return [t for t in found if all(getattr(t, a) == getattr(tile, a) for a in same)]

    monkeypatch.setattr(tuning, "neighbours", near)


def clock(run) -> float:
    """Milliseconds: the shorter K, the better."""
    (calls,) = run.args
    run()
    return sum(call.constants["BLOCK_K"] for call in calls)


def test_every_geometry_once_and_the_fastest_tile(few):
    measured = tune(TINY, HALF, DEVICE, [1, 1], 32, 32, clock)
    results = {result.key: result for result in measured}
    assert list(results) == list(rules())
    assert {key.split()[0] for key in results} == {
        "conv7x7", "conv1", "stage", "first_stage", "conv3", "linear",
    }  # fmt: skip
    for key, result in results.items():
        fastest = dataclasses.replace(result.rule, block_k=16)
        assert result.best == fastest, key
        assert result.improved == (result.rule.block_k > 16)
        assert result.refused == 0
        assert (result.best_ms < result.rule_ms) == result.improved
        assert result.tried >= 2

    tiles = TileTable({key: result.best for key, result in results.items()})
    assert {s.options["tile"].block_k for s in plan(tiles).steps if "tile" in s.options} == {16}


def test_a_table_of_another_layout_keeps_parity(monkeypatch):
    """block_k is part of how planes lie in memory."""
    other = {
        key: dataclasses.replace(rule, block_m=32, block_k=64, stages=2)
        for key, rule in rules(size=33).items()
    }
    eager = randomize(Res2Net(TINY).eval(), 0)
    x = torch.randn(1, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    options = TritonOptions(tiles=TileTable(other))
    tuned = from_timm(eager, backend="triton", dtype=HALF, device=DEVICE, triton=options)
    steps = [s for s in tuned.plan(1, 33, 33).steps if "tile" in s.options]
    assert {s.options["tile"] for s in steps if not s.aside} == set(other.values())
    monkeypatch.setattr("r2n_kernels.proof.parity.from_timm", lambda *_, **__: tuned)
    rows = check_parity(eager, x, HALF, backend="triton", device=str(DEVICE))
    assert all(row.verdict.passed for row in rows)


def test_a_forward_has_a_step_as_often_as_it_occurs():
    deep = TINY.replace(layers=(4, 1))
    found = rules(config=deep)

    def counts(key):
        return tuning.steps_of(partial(plan, config=deep), key, found[key])

    assert counts(CONV1) == {"layer1.1.conv1": 3, "layer2.0.conv1": 1}
    # one key, two kernels: a first block's projection is a second K loop
    conv3 = next(key for key in found if key.startswith("conv3 m=64"))
    assert counts(conv3) == {"layer1.0.conv3": 1, "layer1.1.conv3": 3}


def only(key, timer):
    """Measure one geometry."""
    return tuning._measure(plan, key, rules()[key], DEVICE, timer)


def test_a_wrong_tile_is_refused_however_fast(few, monkeypatch):
    def wrong(x, w, b, planes, y, *, layout, tile: TileConfig):
        b = b + 1.0 if tile.block_k == 16 else b
        return conv1(x, w, b, planes, y, layout=layout, tile=tile)

    changed = dataclasses.replace(all_ops()["conv1"], launcher=wrong)
    monkeypatch.setitem(all_ops(), "conv1", changed)
    result = only(CONV1, clock)
    assert result.best.block_k == result.rule.block_k == 32
    assert result.refused > 0


def test_a_lucky_time_is_measured_again(few):
    seen: dict[int, int] = {}

    def lucky(run):
        tile = run.args[0][0].constants["BLOCK_K"]
        seen[tile] = seen.get(tile, 0) + 1
        return 0.5 if seen[tile] == 1 and len(seen) == 2 else 1.0

    result = only(CONV1, lucky)
    assert not result.improved
    assert result.best_ms == result.rule_ms == 2.0  # of two kinds of steps


def test_a_device_without_kernels_is_refused_before_the_first_measurement():
    with pytest.raises(ConfigError, match="got device meta"):
        tune(TINY, HALF, torch.device("meta"), [1], 32, 32, clock)
