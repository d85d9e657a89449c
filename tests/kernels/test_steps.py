"""Every kernel on steps of real plans, against its twin, in fp16, bf16 and fp32."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.kernels.targets import INTERPRETER, TARGETS, Target, without_gluon
from r2n_kernels.kernels.tiles import TileConfig, TileTable
from r2n_kernels.plan import build_plan

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
BLOCKS = (2, 2, 2, 2)  # the first two of a stage have every geometry
TINY = Res2NetConfig(layers=(2, 2), planes=(9, 14), scale=3, in_chans=5, num_classes=3)
SHORT = TINY.replace(layers=(1,), planes=(9,))


class LongTiles(TileTable):
    """Small tiles with a long K: many programs, and a padded K that reaches several rows far."""

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        return dataclasses.replace(rule, block_m=32, block_n=16, block_k=64, stages=2)


@dataclass(frozen=True)
class Case:
    config: Res2NetConfig
    batch: int
    height: int
    width: int
    target: Target = INTERPRETER
    tiles: TileTable | None = None
    schedule: str = "throughput"

    def options(self) -> dict[str, Any]:
        return {"target": self.target, "tiles": self.tiles, "schedule": self.schedule}


SMALL = {
    "scale3": Case(TINY, 3, 33, 47),
    "scale3-latency": Case(TINY, 2, 39, 32, TARGETS["sm_90"], schedule="latency"),
    "long-tiles": Case(TINY, 2, 33, 37, tiles=LongTiles()),
    "pooled": Case(SHORT, 2, 62, 121),
    "pooled-deep": Case(SHORT.replace(deep_stem=True, stem_width=5, in_chans=1), 1, 32, 247),
    "pooled-long-tiles": Case(SHORT, 1, 62, 121, tiles=LongTiles()),
    "scale1": Case(TINY.replace(scale=1, in_chans=1, num_classes=0), 1, 40, 33),
    "scale2": Case(TINY.replace(scale=2, in_chans=4), 2, 35, 32, tiles=LongTiles()),
    "scale6": Case(TINY.replace(scale=6, base_width=64, num_classes=1), 1, 41, 34),
    "scale8-deep": Case(
        TINY.replace(scale=8, deep_stem=True, avg_down=True, stem_width=5, in_chans=12), 2, 35, 33
    ),
    "groups": Case(TINY.replace(planes=(16, 32), base_width=4, cardinality=8), 3, 32, 36),
    "one-pixel": Case(
        TINY.replace(layers=BLOCKS, planes=(8, 8, 16, 24), avg_down=True), 2, 32, 32
    ),
    "one-line": Case(
        TINY.replace(layers=BLOCKS, planes=(8, 8, 16, 24), deep_stem=True, stem_width=4),
        1, 32, 97, TARGETS["sm_80"], schedule="latency",
    ),
}  # fmt: skip
LARGE = {"headline": Case(VARIANTS[HEADLINE].replace(layers=BLOCKS), 1, 224, 224)}
TILED = without_gluon(TARGETS["sm_90"], "the interpreter does not run it")
REAL = {  # one of 50 and 101 layers is enough
    name: Case(config.replace(layers=BLOCKS), 2, 43, 32, TILED)
    for name, config in VARIANTS.items()
    if "101" not in name
}
EVERY_DTYPE = ("scale3", "scale8-deep")  # every op, by default; the others are slow
SLOW = pytest.mark.slow


def params(cases: dict[str, Case], dtypes, *marks):
    """One test an op: its id says which kernel failed."""
    for name, case in cases.items():
        for dtype in dtypes:
            shape = case.config, case.batch, case.height, case.width, dtype
            plan = build_plan(*shape, backend="triton", **case.options())
            for op in sorted({step.op for step in plan.steps}):
                yield pytest.param(case, dtype, op, id=f"{name}-{op}-{str(dtype)[6:]}", marks=marks)


@pytest.mark.parametrize(
    ("case", "dtype", "op"),
    [
        *params(SMALL, DTYPES[:1]),
        *params({name: SMALL[name] for name in EVERY_DTYPE}, DTYPES[1:]),
        *params({k: v for k, v in SMALL.items() if k not in EVERY_DTYPE}, DTYPES[1:], SLOW),
        *params(LARGE, DTYPES[:1], SLOW),
        *params(LARGE, DTYPES[1:], pytest.mark.weekly),
        *params(REAL, DTYPES[:1], SLOW),
    ],
)
def test_a_kernel_equals_its_twin_and_touches_nothing_else(case, dtype, op, trials, verify):
    network = (case.config, case.batch, case.height, case.width, dtype)
    found = list(trials(*network, op, **case.options()))
    assert found
    for trial in found:
        verify(trial)
