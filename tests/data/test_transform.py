from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from r2n_kernels.data import create_transform, read_image
from r2n_kernels.errors import ConfigError, ImageError

timm_data = pytest.importorskip("timm.data")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CFG = {
    "input_size": (3, 224, 224),
    "interpolation": "bilinear",
    "mean": MEAN,
    "std": STD,
    "crop_pct": 0.875,
    "crop_mode": "center",
}
GREY = {**CFG, "input_size": (1, 224, 224), "mean": (0.45,), "std": (0.22,)}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash", "border")


def assert_equals_timm(source, **cfg):
    """Both our routes, the card's `transform(Image.open(...))` and read_image, equal timm's."""
    mode = "L" if cfg["input_size"][0] == 1 else "RGB"
    ours = create_transform(**cfg, is_training=False)
    theirs = timm_data.create_transform(**cfg, is_training=False)

    def opened():
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)

    expected = theirs(opened().convert(mode))
    for actual in (ours(opened()), ours(read_image(source, mode))):
        assert actual.dtype == torch.float32
        assert actual.is_contiguous()
        assert actual.shape == cfg["input_size"]
        assert torch.equal(actual, expected)


def sixteen_bit(photo):
    """The photo's grey levels spread over 0..65535, most of which Pillow clips in a conversion."""
    return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)


def with_palette_transparency(photo):
    image = photo.quantize(64)
    image.info["transparency"] = 3
    return image


FILES = {
    "rgb.jpg": lambda photo: photo,
    "rgb.png": lambda photo: photo,
    "rgb.tiff": lambda photo: photo,
    "rgb.webp": lambda photo: photo,
    "rgb.bmp": lambda photo: photo,
    "grey.jpg": lambda photo: photo.convert("L"),
    "grey.png": lambda photo: photo.convert("L"),
    "palette.png": lambda photo: photo.quantize(64),
    "palette.gif": lambda photo: photo.quantize(64),
    "transparent.png": with_palette_transparency,
    "rgba.png": lambda photo: photo.copy(),
    "rgba.tiff": lambda photo: photo.convert("RGBA"),
    "cmyk.jpg": lambda photo: photo.convert("CMYK"),
    "cmyk.tiff": lambda photo: photo.convert("CMYK"),
    "16bit.png": sixteen_bit,
    "16bit.tiff": sixteen_bit,
    "grey_alpha.png": lambda photo: photo.convert("LA"),
    "bilevel.png": lambda photo: photo.convert("1"),
    "float.tiff": lambda photo: photo.convert("F"),
    "ycbcr.jpg": lambda photo: photo.convert("YCbCr"),
}


@pytest.mark.parametrize("cfg", [CFG, GREY], ids=["RGB", "L"])
@pytest.mark.parametrize("name", FILES)
def test_real_photographs_in_every_mode(photos, save, name, cfg):
    image = FILES[name](photos["china"])
    if name == "rgba.png":  # an alpha channel that varies, over colours that do
        image.putalpha(photos["flower"].convert("L"))
    assert_equals_timm(save(image, name), **cfg)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_not_applied(photos, save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(photos["flower"], "rotated.jpg", exif=exif)
    assert_equals_timm(path, **CFG)
    assert read_image(path).size == photos["flower"].size


SIZES = [(1, 1), (3, 5), (2, 300), (224, 224), (256, 256), (255, 257), (9000, 37), (2000, 1500)]


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_tiny_and_huge(photos, save, size, crop_mode):
    path = save(photos["china"].resize(size), "sized.png", compress_level=1)
    assert_equals_timm(path, **{**CFG, "crop_mode": crop_mode})


@pytest.mark.parametrize("cfg", [CFG, GREY], ids=["RGB", "L"])
@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_interpolation_and_crop_mode(photos, save, interpolation, crop_mode, cfg):
    changes = {"interpolation": interpolation, "crop_mode": crop_mode}
    assert_equals_timm(save(photos["flower"], "photo.jpg"), **{**cfg, **changes})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_size_and_crop(photos, data):
    edge = st.integers(1, 90)
    photo = photos["china"].crop((200, 100, 200 + data.draw(edge), 100 + data.draw(edge)))
    buffer = io.BytesIO()
    photo.save(buffer, "PNG")
    cfg = {
        **CFG,
        "input_size": (3, data.draw(edge), data.draw(edge)),
        "interpolation": data.draw(st.sampled_from(INTERPOLATIONS)),
        "crop_mode": data.draw(st.sampled_from(CROP_MODES)),
        "crop_pct": data.draw(st.sampled_from([0.5, 0.875, 0.95, 1.0]) | st.floats(0.3, 1.0)),
    }
    try:
        create_transform(**cfg)(photo)
    except ImageError:  # an edge that rounds to 0: timm's transform cannot either
        with pytest.raises(ValueError, match="must be > 0"):
            timm_data.create_transform(**cfg)(photo)
    else:
        assert_equals_timm(buffer.getvalue(), **cfg)


def test_crop_larger_than_the_resized_image(photos, save):
    assert_equals_timm(save(photos["china"], "photo.png"), **{**CFG, "crop_pct": 1.3})


def test_every_level_is_normalized_as_timm_does(save):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([levels, levels.T, levels[::-1]], axis=2))
    cfg = {**CFG, "input_size": (3, 16, 16), "crop_pct": 1.0}
    assert_equals_timm(save(image, "levels.png"), **cfg)


def test_lists_as_from_json(photos):
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in CFG.items()}
    assert create_transform(**lists) == create_transform(**CFG)


def test_repr_says_what_it_does():
    transform = create_transform(**CFG)
    assert "interpolation='bilinear'" in repr(transform)
    assert "crop_pct=0.875" in repr(transform)
    assert "_table" not in repr(transform)
    assert (transform.mode, transform.resize_size) == ("RGB", (256, 256))


def test_does_not_change_the_image(photos):
    image = photos["china"].copy()
    create_transform(**CFG)(image)
    assert image == photos["china"]


@pytest.mark.parametrize(
    ("size", "crop_mode"), [((1, 9000), "center"), ((9000, 1), "center"), ((9000, 1), "border")]
)
def test_too_elongated(size, crop_mode):
    with pytest.raises(ImageError, match=f"too elongated: {size[0]}x{size[1]} pixels would be"):
        create_transform(**{**CFG, "crop_mode": crop_mode})(Image.new("RGB", size))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_training": True}, "inference only"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'; there are nearest, bilinear"),
        ({"interpolation": "random"}, "unknown interpolation 'random'"),
        ({"crop_mode": "corner"}, "unknown crop_mode 'corner'; there are center, squash, border"),
        ({"crop_pct": 0}, "crop_pct must be a positive number, got 0"),
        ({"crop_pct": float("nan")}, "crop_pct must be a positive number"),
        ({"crop_pct": None}, "crop_pct must be a positive number, got None"),
        ({"crop_pct": 300.0}, r"crop_pct 300.0 leaves nothing of an input of \(224, 224\) pixels"),
        ({"input_size": 224}, r"input_size must be \(channels, height, width\), got 224"),
        ({"input_size": (3, 0, 224)}, "input_size must be positive integers"),
        ({"input_size": (3, 224.0, 224)}, "input_size must be positive integers"),
        ({"input_size": (4, 224, 224)}, r"1 \(grey\) or 3 \(RGB\) channels, not 4"),
        ({"input_size": (1, 224, 224)}, r"mean must be 1 finite numbers \(one a channel\)"),
        ({"mean": (0.5, 0.5, float("inf"))}, "mean must be 3 finite numbers"),
        ({"std": (0.5,)}, r"std must be 3 finite numbers .*, got \(0.5,\)"),
        ({"std": (0.5, 0.0, 0.5)}, "std must not be zero"),
    ],
)
def test_bad_configuration(changes, message):
    with pytest.raises(ConfigError, match=message):
        create_transform(**{**CFG, **changes})


def test_missing_and_unknown_arguments():
    with pytest.raises(TypeError, match="interpolation"):
        create_transform(**{k: v for k, v in CFG.items() if k != "interpolation"})
    with pytest.raises(TypeError, match="hflip"):
        create_transform(**CFG, hflip=0.5)
