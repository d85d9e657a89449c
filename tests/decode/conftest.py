"""Real photographs, and what a model of 64 pixels sees of them."""

from __future__ import annotations

import pytest

from r2n_kernels.decode import Decoder, Geometry

from ..data.conftest import photos, save  # noqa: F401

GEOMETRY = Geometry("RGB", (64, 64), "bilinear", 0.875, "center")


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return Decoder(GEOMETRY)
