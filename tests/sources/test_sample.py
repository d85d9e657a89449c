from __future__ import annotations

import pickle

import pytest
from PIL import Image

from r2n_kernels.data import read_image
from r2n_kernels.errors import ImageError
from r2n_kernels.sources import Broken, Remote, Sample, sample
from r2n_kernels.sources.sample import source_of


def test_remote(memory):
    memory.pipe("/a.jpg", b"12345")
    remote = pickle.loads(pickle.dumps(Remote("memory://a.jpg")))
    assert remote.read() == b"12345"


@pytest.mark.parametrize(
    ("url", "reason"),
    [("memory://none.jpg", "no such file"), ("nope://a.jpg", "Protocol not known")],
)
def test_remote_that_cannot_be_read(memory, url, reason):
    with pytest.raises(ImageError, match=reason):
        Remote(url).read()


def test_no_more_than_an_image_is_fetched(memory, monkeypatch):
    monkeypatch.setattr(sample, "MOST", 1 << 20)
    memory.pipe("/a.jpg", b"1" * (1 << 20) + b"1")
    with pytest.raises(ImageError, match="larger than 1 MiB"):
        Remote("memory://a.jpg").read()


def test_read_image_takes_every_source(memory, tmp_path):
    Image.new("RGB", (3, 2), (9, 8, 7)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    memory.pipe("/a.png", content)
    for source in (str(tmp_path / "a.png"), content, Remote("memory://a.png")):
        assert read_image(source).getpixel((0, 0)) == (9, 8, 7)
    with pytest.raises(ImageError, match=r"^truncated$"):
        read_image(Broken("truncated"))


def test_sample():
    assert source_of("a.jpg") == "a.jpg"
    assert source_of("s3://b/a.jpg") == Remote("s3://b/a.jpg")
    one = Sample("a.jpg", Remote("s3://b/a.jpg"), "cat")
    assert pickle.loads(pickle.dumps(one)) == one
