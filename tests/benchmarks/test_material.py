from __future__ import annotations

import pytest
import torch
from PIL import Image

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks.material import BY_NAME, SCOPES, material_of
from r2n_kernels.cli import bench
from r2n_kernels.errors import ImageError


def prepare(pictures):
    """The colour of each image's first pixel, as a tensor."""
    return torch.tensor([picture.getpixel((0, 0)) for picture in pictures])[:, :, None, None]


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a", (1, 2, 3)), ("b", (4, 5, 6))):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def made(scope, folder=None, batch=3):
    return material_of(batch, 8, 8, scope, prepare, None if folder is None else str(folder))


def test_noise_is_ready():
    material = made(SCOPES[0])
    assert material.x.shape == (3, 3, 8, 8)
    assert material.make is None


@pytest.mark.parametrize("scope", SCOPES)
def test_a_folders_images_in_turns(folder, scope):
    material = made(scope, folder)
    assert material.x[:, 0, 0, 0].tolist() == [1, 4, 1]
    assert (material.make is None) == (scope == SCOPES[0])
    assert material.make is None or torch.equal(material.make(), material.x)


def test_only_the_pipeline_reads_files_in_each_call(folder):
    whole, part = (made(scope, folder).make for scope in (SCOPES[2], SCOPES[1]))
    (folder / "a.png").unlink()
    assert len(part()) == 3
    with pytest.raises(ImageError, match="no such file"):
        whole()


def test_what_cannot_be_made(tmp_path):
    with pytest.raises(ConfigError, match="decoding is timed on files: --images FOLDER"):
        made(SCOPES[2])
    with pytest.raises(ConfigError, match="unknown scope 'x'; expected one of model, "):
        made("x")


def test_the_command_line_knows_the_names():
    assert tuple(BY_NAME) == bench.SCOPES
