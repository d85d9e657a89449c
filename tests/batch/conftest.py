"""The bundled model and its images, some of which are no images."""

from __future__ import annotations

from pathlib import Path

import pytest

import r2n_kernels

ASSETS = Path(r2n_kernels.__file__).parent / "assets" / "digits"


@pytest.fixture(scope="session")
def digits() -> str:
    return f"local-dir:{ASSETS}"


@pytest.fixture(scope="session")
def photos() -> list[str]:
    return sorted(map(str, (ASSETS / "images").iterdir()))


@pytest.fixture(scope="session")
def mixed(photos, tmp_path_factory) -> list[str]:
    """Eleven paths; the second is text, the fifth is not there."""
    text = tmp_path_factory.mktemp("mixed") / "text.png"
    text.write_bytes(b"text")
    paths = photos[:11]
    paths[1], paths[4] = str(text), str(text.with_name("gone.png"))
    return paths
