"""The digits that come along, and what a local model says of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from r2n_kernels import create_model
from r2n_kernels.benchmarks.serving import expectations
from r2n_kernels.cli.bundled import DIGITS


@pytest.fixture(scope="session")
def digits() -> SimpleNamespace:
    """A network, the files' contents, and the expected answer of each."""
    model = create_model(f"local-dir:{DIGITS}", pretrained=True)
    contents = [path.read_bytes() for path in sorted((DIGITS / "images").glob("*.png"))]
    return SimpleNamespace(
        model=model, contents=contents, expected=expectations(model, contents),
        labels=tuple(str(digit) for digit in range(10)),
    )  # fmt: skip
