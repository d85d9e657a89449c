"""No image of a batch touches another; NaN passes through every kernel as in PyTorch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.tiles import TileConfig, TileTable

DEEP = Res2NetConfig(
    layers=(2, 2), planes=(9, 14), scale=3, deep_stem=True, avg_down=True, stem_width=5,
    num_classes=3,
)  # fmt: skip
SEVEN = DEEP.replace(deep_stem=False, avg_down=False, scale=2, num_classes=0)
NETWORKS = {
    "deep": (DEEP, 3, 33, 37), "7x7": (SEVEN, 3, 35, 32),
    "pooled": (SEVEN.replace(layers=(1,), planes=(9,)), 3, 32, 121),
}  # fmt: skip


class LongTiles(TileTable):
    """A padded K that reaches rows beyond the last tap: into a neighbour, were none added."""

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        return dataclasses.replace(rule, block_k=64)


def fill_one_image(trial, value: float) -> None:
    for name in trial.step.reads:
        for images in trial.images(name):
            images[1] = value


@pytest.mark.parametrize(
    "value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("schedule", "ops"),
    [("throughput", ()), ("latency", ("stage",))],
    ids=["throughput", "latency"],
)
@pytest.mark.parametrize("tiles", [None, LongTiles()], ids=["rule", "long"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_poisoned_image_leaves_the_others_bit_identical(
    network, tiles, schedule, ops, value, trials, buffers, same_bits
):
    for clean in trials(*network, torch.float16, *ops, schedule=schedule, tiles=tiles):
        poisoned = clean.copied()
        fill_one_image(poisoned, value)
        results = []
        for trial in (clean, poisoned):
            trial = trial.copied(buffers.guarded)
            launch(trial.bound.calls())
            results.append([t for name in trial.step.writes for t in trial.images(name)])
        for one, other in zip(*results, strict=True):
            assert same_bits(one[0], other[0]), clean.step.name
            assert same_bits(one[2], other[2]), clean.step.name
    buffers.assert_guards()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_an_image_of_nan_stays_one(network, trials, buffers):
    for trial in trials(*network, torch.float16):
        fill_one_image(trial, float("nan"))
        ours, twin = trial.copied(buffers.guarded).run(), trial.twin()
        for name in trial.step.writes:
            expected = twin[name].isnan()
            assert expected.any()
            assert torch.equal(ours[name].isnan().cpu(), expected), f"{trial.step.name}: {name}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_inf_in_one_pixel_reach_what_pytorch_says(value, trials, buffers):
    """Not the convolutions: there padding's zero weights meet the NaN too, in its own image."""
    ops = ("maxpool", "avgpool", "conv1", "conv3", "conv3_project", "global_pool", "linear")
    for trial in trials(*NETWORKS["deep"], torch.float32, *ops):
        for name in trial.step.reads:
            tensor = trial.buffers[name]
            tensor[5 % len(tensor), 0] = value
        ours, twin = trial.copied(buffers.guarded).run(), trial.twin()
        for name in trial.step.writes:
            for seen in (torch.isnan, torch.isposinf, torch.isneginf):
                assert torch.equal(seen(ours[name]).cpu(), seen(twin[name])), trial.step.name
