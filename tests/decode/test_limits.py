from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
from PIL import Image

from r2n_kernels.decode import Limits
from r2n_kernels.decode.limits import BYTES_PER_PIXEL, LEAST_MEMORY
from r2n_kernels.errors import ConfigError

# Decodes one image in a fresh process; prints its peak memory over that of the imports.
MEASURED = """
import sys
from PIL import Image
from r2n_kernels.decode import read_image

def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

Image.init()
before = peak()
read_image(sys.argv[1])
print(peak() - before)
"""
EDGE = 2000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixels": 0}, "pixels must be a positive integer, got 0"),
        ({"pixels": 1e6}, "pixels must be a positive integer, got 1000000.0"),
        ({"resized_pixels": None}, "resized_pixels must be a positive integer, got None"),
        ({"seconds": 0}, "seconds must be a positive number, got 0"),
        ({"seconds": math.nan}, "seconds must be a positive number, got nan"),
        ({"memory": 1000}, f"memory must be at least {LEAST_MEMORY} bytes, got 1000"),
    ],
)
def test_misuse(options, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**options)


def test_pixels_are_pillows_at_the_moment(monkeypatch):
    limits = Limits()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert limits.most_pixels == 1000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert limits.most_pixels == limits.worker_bytes == math.inf
    assert Limits(pixels=7).most_pixels == 7


def test_memory_is_told():
    assert 2.0 < Limits().worker_bytes / 2**30 < 2.2  # as its docstring says
    assert Limits(pixels=10**8).worker_bytes > Limits().worker_bytes
    assert Limits(pixels=1).worker_bytes > 8 * Limits().resized_pixels
    assert Limits(memory=2**30).worker_bytes == 2**30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "CMYK", {"progressive": True, "subsampling": 0}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("WEBP", "RGB", {"method": 0}),
        ("WEBP", "RGBA", {"method": 0, "lossless": True, "quality": 0}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "CMYK", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}),
        ("PPM", "RGB", {}),
        ("JPEG2000", "RGBA", {"irreversible": True, "quality_layers": [20]}),
        ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    ],
)
def test_bytes_per_pixel_are_no_guess(photos, tmp_path, kind, mode, options):
    photo = photos["china"].resize((EDGE, EDGE))
    path = tmp_path / "image"
    (photo.quantize(64) if mode == "P" else photo.convert(mode)).save(path, kind, **options)
    command = [sys.executable, "-c", MEASURED, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < BYTES_PER_PIXEL[kind] * EDGE**2 + 2**23
