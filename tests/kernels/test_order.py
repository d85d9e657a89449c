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


@pytest.mark.parametrize("schedule", ["throughput", "latency"])
def test_programs_may_run_in_any_order(schedule, steps, run_programs, same_bits, monkeypatch):
    for pool in (avgpool, maxpool):
        monkeypatch.setattr(pool, "TILE", 256)
    network = steps(TINY, 2, 33, 35, torch.float16, schedule=schedule, tiles=SmallTiles())
    for trial in network.trials():
        plain = trial.copied(torch.clone)
        launch(plain.calls())
        other = trial.copied(torch.clone)
        for call in other.calls():
            assert call.grid > 1, trial.step.name
            run_programs(call, shuffled(call.grid))
        for name, result in plain.written.items():
            assert same_bits(result, other.tensors[name]), trial.step.name


def test_selected_programs_are_the_only_ones_that_run(steps, run_programs):
    trial = next(steps(TINY, 3, 33, 37, torch.float16).trials("global_pool"))
    run_programs(trial.calls()[0], [1])
    unwritten = trial.tensors["out"].isnan().all(dim=1)
    assert unwritten.tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1, 4])
def test_chained_and_split_stages_give_the_same_bits(scale, dtype, steps, same_bits):
    config = TINY.replace(scale=scale)
    for trial in steps(config, 2, 33, 35, dtype, tiles=SmallTiles()).trials("stage"):
        options = dict(trial.step.options)
        results = []
        for chained in (True, False):
            step = dataclasses.replace(trial.step, options={**options, "chained": chained})
            run = dataclasses.replace(trial.copied(torch.clone), step=step)
            calls = run.calls()
            assert len(calls) == (1 if chained else config.num_convs)
            launch(calls)
            results.append(run.written)
        for name, one in results[0].items():
            assert same_bits(one, results[1][name])
