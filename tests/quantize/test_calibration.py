from __future__ import annotations

import pytest
import torch
from PIL import Image

from r2n_kernels.data import create_transform
from r2n_kernels.errors import ConfigError, InputError
from r2n_kernels.quantize import Calibration, read_calibration
from r2n_kernels.sources import Sample

PIXELS = torch.zeros(7, 32, 32, 1, dtype=torch.uint8)


@pytest.mark.parametrize(("most", "found"), [(3, [0, 2, 4]), (7, [*range(7)]), (99, [*range(7)])])
def test_images_are_spread_over_the_set(most, found):
    assert Calibration(PIXELS).spread(most) == found


def test_what_is_no_set_of_images():
    for images in (PIXELS.float(), PIXELS[0], PIXELS[:0]):
        with pytest.raises(InputError, match=r"expected bytes \[N, H, W, C\], got torch\."):
            Calibration(images)
    with pytest.raises(InputError, match="2 targets for 7 images"):
        Calibration(PIXELS, torch.tensor([0, 1]))


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """A good one; one whose label is no class; one without a label; and one that is no image."""
    for number in range(3):
        Image.new("L", (40, 40), 10 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_text("no image")
    labels = ["a", "z", None, "a"]
    return [Sample(f"{i}", str(tmp_path / f"{i}.png"), label) for i, label in enumerate(labels)]


def target(label: int | str) -> int:
    if label != "a":
        raise ConfigError(f"label '{label}' is no class")
    return 4


TRANSFORM = {
    "input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,), "crop_pct": 1.0,
    "interpolation": "bilinear",
}  # fmt: skip


def test_images_and_classes_are_read(samples):
    ticks = []
    transform = create_transform(**TRANSFORM)
    found, failed = read_calibration(samples, transform, target, ticks.append)
    assert (found.images.shape, found.targets.tolist()) == ((1, 32, 32, 1), [4])
    assert failed[:2] == ["1: label 'z' is no class", "2: it has no label"]
    assert failed[2].startswith("3: ")
    assert sum(ticks) == 4


def test_without_classes(samples):
    found, failed = read_calibration(samples, create_transform(**TRANSFORM), None, lambda n: None)
    assert (len(found.images), found.targets, len(failed)) == (3, None, 1)
    assert found.images[:, 0, 0, 0].tolist() == [0, 10, 20]


def test_no_image_is_left(samples):
    with pytest.raises(ConfigError, match="no image can be used; the first: 2: it has no label"):
        read_calibration(samples[2:], create_transform(**TRANSFORM), target, lambda n: None)
