"""Real photographs, in memory and as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photos() -> dict[str, Image.Image]:
    """The two photographs that scikit-learn ships: RGB, 640x427."""
    datasets = pytest.importorskip("sklearn.datasets")
    images = datasets.load_sample_images().images
    return {
        name: Image.fromarray(array)
        for name, array in zip(("china", "flower"), images, strict=True)
    }


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """`save(image, "name.png", **options)` writes a file of the suffix's format."""

    def write(image: Image.Image, name: str, **options: Any) -> Path:
        path = tmp_path / name
        image.save(path, **options)
        return path

    return write
