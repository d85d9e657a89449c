"""Results depend neither on the order in which programs run, nor on the schedule of a stage."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels import avgpool, maxpool
from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.tiles import TileConfig, TileTable

TINY = Res2NetConfig(
    layers=(2, 2), planes=(9, 14), scale=4, deep_stem=True, avg_down=True, stem_width=4,
    num_classes=40,
)  # fmt: skip
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


class SmallTiles(TileTable):
    """So that every launch has several programs."""

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        return dataclasses.replace(rule, block_m=32, block_n=16, block_k=32)


def shuffled(programs: int) -> list[int]:
    return random.Random(programs).sample(range(programs), programs)


@pytest.mark.parametrize(
    ("schedule", "ops"),
    [("throughput", ()), ("latency", ("stage",))],
    ids=["throughput", "latency"],
)
def test_programs_may_run_in_any_order(schedule, ops, trials, run_programs, same_bits, monkeypatch):
    for pool in (avgpool, maxpool):
        monkeypatch.setattr(pool, "TILE", 256)

    def in_another_order(calls):
        for call in calls:
            assert call.grid > 1, call.name
            run_programs(call, shuffled(call.grid))

    network = (TINY, 2, 33, 35, torch.float16)
    for trial in trials(*network, *ops, schedule=schedule, tiles=SmallTiles()):
        plain, other = trial.run(), trial.run(in_another_order)
        for name in trial.step.writes:
            assert same_bits(plain[name], other[name]), trial.step.name


def test_selected_programs_are_the_only_ones_that_run(trials, run_programs):
    (trial,) = trials(TINY, 3, 33, 37, torch.float16, "global_pool")
    out = trial.run(lambda calls: run_programs(calls[0], [1]))["embedding"]
    assert out.isnan().all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1, 4])
def test_chained_and_split_stages_give_the_same_bits(scale, dtype, trials, same_bits, buffers):
    config = TINY.replace(scale=scale)
    for trial in trials(config, 2, 33, 35, dtype, "stage", tiles=SmallTiles()):
        results = []
        for chained in (True, False):
            options = {**trial.step.options, "chained": chained}
            step = dataclasses.replace(trial.step, options=options)
            run = dataclasses.replace(trial.copied(buffers.guarded), step=step)
            calls = run.bound.calls()
            assert len(calls) == (1 if chained else config.num_convs)
            launch(calls)
            results.append(run.buffers)
        for name in trial.step.writes:
            assert same_bits(results[0][name], results[1][name])
