"""Kernels of int8 blocks give the bits of their twins, on real activations of random networks."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.targets import INTERPRETER, TARGETS
from r2n_kernels.kernels.tiles import TileTable

from ..int8_cases import NEVER, step_cases

pytestmark = pytest.mark.skipif(not interpreted(), reason="compiled code is run by the emulator")

TINY = Res2NetConfig(layers=(2, 2), planes=(9, 14), scale=3, in_chans=5, num_classes=3)
OPS = {"conv1", "first_stage", "conv3_project", "global_pool"}


class SmallTiles(TileTable):
    """Many programs; a last row tile that is half as tall, parts of columns."""

    def get(self, key, rule):
        return dataclasses.replace(rule, block_m=32, block_n=16, block_k=64, stages=2)


CASES = {
    "scale3": (TINY, 3, 33, 47, {"schedule": "throughput"}),
    "scale3-latency": (TINY, 1, 39, 32, {"schedule": "latency", "target": TARGETS["sm_90"]}),
    "pooled": (TINY.replace(layers=(1,), planes=(9,)), 2, 62, 121, {"schedule": "throughput"}),
    "scale2-small-tiles": (TINY.replace(scale=2), 2, 35, 32, {"tiles": SmallTiles()}),
    "scale1": (TINY.replace(scale=1, num_classes=0), 1, 40, 33, {}),
    "scale4": (TINY.replace(scale=4, base_width=40), 2, 33, 36, {}),
    "scale8-d": (
        TINY.replace(scale=8, deep_stem=True, avg_down=True, stem_width=5), 2, 35, 33,
        {"dtype": torch.bfloat16},
    ),
    "groups": (TINY.replace(planes=(16, 32), base_width=4, cardinality=8), 2, 32, 36, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_kernels_give_their_twins_bits_and_touch_nothing_else(name, buffers):
    config, batch, height, width, options = CASES[name]
    seen = set()
    for case in step_cases(config, batch, height, width, **{"target": INTERPRETER, **options}):
        ours, twin = case.copied(buffers.guarded), case.twin()
        launch(ours.bound.calls())
        buffers.assert_guards()
        for buffer, tensor in case.buffers.items():
            found, expected = ours.buffers[buffer], twin[buffer]
            assert found.dtype == tensor.dtype
            if case.step.op == "conv_pool" and found.dtype == torch.int8:
                off = (found.int() - expected.int()).abs()  # float sums in another order
                assert off.max() <= 1
                assert off.float().mean() < 0.01
            elif found.dtype == torch.int8 or buffer not in case.step.writes:
                assert torch.equal(found, expected), (case.step.name, buffer)
            else:  # a mean, which two orders of sums may round apart
                torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-6)
        seen.add(case.step.op)
    others = {"conv_pool"} if name == "pooled" else {"maxpool", "stage", "conv3"}
    assert seen == OPS | others | ({"avgpool"} if config.avg_down else set())


def test_every_element_is_written_and_most_of_the_range_is_used():
    for case in step_cases(TINY, 2, 33, 32, target=INTERPRETER):
        after = case.run()
        for name in case.step.writes:
            if after[name].dtype == torch.int8 and case.step.op not in ("conv1", "stage"):
                assert not (after[name] == NEVER).any(), case.step.name
                assert after[name].max() > 60, case.step.name


@pytest.mark.parametrize("row", range(3))
def test_a_wrong_table_is_seen(row):
    """Biases, scales of sums or ratios that are 4 % larger: some value is another whole number."""
    missed = []
    for case in step_cases(TINY.replace(layers=(3, 2)), 2, 33, 32, target=INTERPRETER):
        if case.weights is None or case.weights.weight.dtype != torch.int8:
            continue  # biases without scales
        if not case.weights.bias[..., row, :].any():
            continue
        twin, ours = case.twin(), case.copied()
        ours.weights.bias[..., row, :] *= 1.04
        after = ours.run()
        if all(torch.equal(after[name], twin[name]) for name in case.step.writes):
            missed.append(case.step.name)
    assert missed == []
