from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from r2n_kernels.decode import Decoder, Geometry, Limits
from r2n_kernels.decode import decoder as module
from r2n_kernels.decode.reading import read_image
from r2n_kernels.errors import ConfigError, ImageError

from .conftest import GEOMETRY
from .hostile import encoded, png_line

MODEL = Geometry("RGB", (224, 224), "bilinear", 0.875, "center")


def difference(content, geometry):
    """The largest and the mean difference of turbo, in levels of 0 to 255."""
    exact, turbo = (
        np.asarray(Decoder(geometry, decode=decode)(content)).astype(int)
        for decode in ("exact", "turbo")
    )
    found = abs(turbo - exact)
    return found.max(), found.mean()


def test_equals_reading_and_cutting(photos, decoder):
    content = encoded(photos["china"], "PNG")
    assert decoder(content) == GEOMETRY(read_image(content))
    assert pickle.loads(pickle.dumps(decoder)) == decoder


def test_mode_that_it_is_read_as(photos):
    content = encoded(photos["china"], "PNG")
    grey = GEOMETRY(photos["china"].convert("L"))
    assert Decoder(GEOMETRY, mode="L")(content).tobytes() == grey.tobytes()


def test_elongated_is_refused_before_it_is_decoded(decoder, monkeypatch):
    monkeypatch.setattr(module, "converted", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="too elongated: 40000x1 pixels"):
        Decoder(GEOMETRY, Limits(resized_pixels=10**6))(png_line(40000))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "most", "mean"),
    [((4240, 2830), 4, 0.4), ((3072, 2048), 11, 0.95), ((1650, 1100), 11, 0.95)],
)
def test_turbo_differs_by_as_much_as_it_says(photos, size, most, mean, interpolation):
    geometry = Geometry("RGB", (224, 224), interpolation, 0.875, "center")
    for photo in photos.values():
        photo = photo.resize(size, Image.Resampling.LANCZOS)
        found = difference(encoded(photo, "JPEG", quality=92), geometry)
        assert 0 < found[0] <= most
        assert 0 < found[1] <= mean


@pytest.mark.parametrize(
    ("size", "interpolation"),
    [((1500, 1020), "bilinear"), ((1650, 1100), "nearest"), ((1650, 1100), "box")],
)
def test_turbo_is_exact_where_it_says_so(photos, size, interpolation):
    geometry = Geometry("RGB", (224, 224), interpolation, 0.875, "center")
    content = encoded(photos["china"].resize(size), "JPEG")
    assert difference(content, geometry) == (0, 0)


def test_turbo_would_be_seen_to_be_wrong(photos, monkeypatch):
    """Without the margin, or without the box, differences are larger than is said."""
    content = encoded(photos["china"].resize((4240, 2830)), "JPEG", quality=92)
    monkeypatch.setattr(module, "MARGIN", 1)
    assert difference(content, MODEL)[0] > 6
    monkeypatch.undo()
    draft = module._draft
    monkeypatch.setattr(module, "_draft", lambda image, size: draft(image, size) and None)
    assert difference(content, MODEL)[0] > 6


def test_turbo_decodes_fewer_pixels(photos, monkeypatch):
    sizes = []

    def seen(image, mode):
        image.load()
        sizes.append(image.size)
        return image.convert(mode)

    monkeypatch.setattr(module, "converted", seen)
    content = encoded(photos["flower"].resize((2048, 1366)), "JPEG")
    for decode in ("exact", "turbo"):
        Decoder(GEOMETRY, decode=decode)(content)
    assert sizes == [(2048, 1366), (256, 171)]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_turbo_leaves_other_formats(photos, kind):
    content = encoded(photos["china"], kind)
    assert difference(content, Geometry("RGB", (32, 32), "bilinear", 0.875, "center")) == (0, 0)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_turbo_of_grey_and_cmyk(photos, mode):
    content = encoded(photos["china"].convert(mode).resize((1280, 854)), "JPEG")
    assert difference(content, GEOMETRY)[0] <= 6


def test_unknown_decode():
    with pytest.raises(ConfigError, match="unknown decode 'fast'; there are exact, turbo"):
        Decoder(GEOMETRY, decode="fast")


def test_room_loads_neither_torch_nor_numpy(tmp_path):
    code = (
        "import sys, r2n_kernels.decode, r2n_kernels.decode.worker, PIL.Image; PIL.Image.init();"
        "print([name for name in ('torch', 'numpy', 'ctypes') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=environment,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_a_source_that_is_an_open_file(photos, decoder):
    content = encoded(photos["china"], "PNG")
    assert decoder(io.BytesIO(content)) == decoder(content)
