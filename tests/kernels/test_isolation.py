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
NETWORKS = {"deep": (DEEP, 3, 33, 37), "7x7": (SEVEN, 3, 35, 32)}


class LongTiles(TileTable):
    """A padded K that reaches rows beyond the last tap: into a neighbour, were none added."""

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        return dataclasses.replace(rule, block_k=64)


@pytest.mark.parametrize(
    "value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("schedule", ["throughput", "latency"])
@pytest.mark.parametrize("tiles", [None, LongTiles()], ids=["rule", "long"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_poisoned_image_leaves_the_others_bit_identical(
    network, tiles, schedule, value, steps, buffers, same_bits
):
    batch = network[1]
    for clean in steps(*network, torch.float16, schedule=schedule, tiles=tiles).trials():
        poisoned = clean.copied(torch.clone)
        for tensor in poisoned.read.values():
            for images in poisoned.images(tensor, batch, written=False):
                images[1] = value
        results = []
        for trial in (clean, poisoned):
            trial = trial.copied(buffers.guarded)
            launch(trial.calls())
            outputs = trial.written.values()
            results.append([t for o in outputs for t in trial.images(o, batch, written=True)])
        for one, other in zip(*results, strict=True):
            assert same_bits(one[0], other[0]), clean.step.name
            assert same_bits(one[2], other[2]), clean.step.name
    buffers.assert_guards()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_an_image_of_nan_stays_one(network, steps, buffers):
    for trial in steps(*network, torch.float16).trials():
        for tensor in trial.read.values():
            for images in trial.images(tensor, network[1], written=False):
                images[1] = float("nan")
        ours, twin = trial.copied(buffers.guarded), trial.copied(torch.clone)
        launch(ours.calls())
        twin.run_twin()
        for name, result in ours.written.items():
            expected = twin.tensors[name].isnan()
            assert expected.any()
            assert torch.equal(result.isnan().cpu(), expected), f"{trial.step.name}: {name}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_inf_in_one_pixel_reach_what_pytorch_says(value, steps, buffers):
    """Not the convolutions: there padding's zero weights meet the NaN too, in its own image."""
    ops = ("maxpool", "avgpool", "conv1", "conv3", "conv3_project", "global_pool", "linear")
    for trial in steps(*NETWORKS["deep"], torch.float32).trials(*ops):
        for tensor in trial.read.values():
            tensor[5 % len(tensor), 0] = value
        ours, twin = trial.copied(buffers.guarded), trial.copied(torch.clone)
        launch(ours.calls())
        twin.run_twin()
        for name, result in ours.written.items():
            for seen in (torch.isnan, torch.isposinf, torch.isneginf):
                assert torch.equal(seen(result).cpu(), seen(twin.tensors[name])), trial.step.name
