"""All nine variants, and the headline at its full size, on the Triton backend's interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.proof.parity import check_parity, eager_model
from r2n_kernels.reference import Res2Net

pytestmark = pytest.mark.skipif(
    not interpreted(), reason="there is a GPU: test_triton_gpu.py runs on it"
)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
BLOCKS = (2, 2, 2, 2)  # the first two of a stage have every geometry
IN_TURN = {  # one of each structure; others differ in widths, which test_steps.py runs
    "res2net50_14w_8s": torch.bfloat16,
    "res2net50_48w_2s": torch.float16,
    "res2net50d": torch.float16,
    "res2next50": torch.float32,
}


def assert_parity(network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x: Tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    rows = check_parity(network, x, dtype, backend="triton", device="cpu")
    assert all(row.verdict.passed for row in rows), [row.verdict for row in rows]


def test_the_first_stages_of_one(randomize):
    """Its real widths, and a deep stem and average pools in shortcuts, end to end."""
    config = VARIANTS["res2net50d"].replace(layers=(2, 1), planes=(64, 128))
    assert_parity(randomize(Res2Net(config)).eval(), (1, 3, 32, 32), torch.float16)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), IN_TURN.items(), ids=IN_TURN)
def test_the_blocks_of_every_structure(name, dtype, randomize):
    """End to end, in a dtype each."""
    config = VARIANTS[name].replace(layers=BLOCKS)
    assert_parity(randomize(Res2Net(config)).eval(), (2, 3, 64, 64), dtype)


@pytest.mark.weekly
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_end_to_end(name, dtype):
    assert_parity(eager_model(name, "reference"), (2, 3, 64, 64), dtype)


@pytest.mark.weekly
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_headline_at_224(dtype):
    """All of its layers; test_steps.py runs each of its kernels at this size."""
    assert_parity(eager_model(HEADLINE, "timm"), (1, 3, 224, 224), dtype)
