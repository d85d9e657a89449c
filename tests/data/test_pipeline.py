from __future__ import annotations

import gc
import io
import itertools
import random
import signal
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from r2n_kernels.data import ImageBatches, create_transform, pipeline, read_image
from r2n_kernels.decode import Decoder, Limits
from r2n_kernels.errors import ConfigError, ImageError
from r2n_kernels.sources import Sample

from ..conftest import signal_self
from ..decode.hostile import encoded, endless_jpeg, png_line


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def delayed(image):
    """Takes a random time, so that images finish out of order."""
    time.sleep(random.random() * 0.01)
    return to_tensor(image)


def interrupt(number, frame):
    raise KeyboardInterrupt


def image_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("r2n-images")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    if image_threads():  # an iterator in a cycle may hold them
        gc.collect()
    assert image_threads() == []


@pytest.fixture
def files(tmp_path):
    """41 images of 4x4 pixels whose red level is their index."""
    paths = [tmp_path / f"{index:02}.png" for index in range(41)]
    for index, path in enumerate(paths):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(path)
    return paths


def reds(batch):
    return [] if batch.images is None else batch.images[:, 0, 0, 0].int().tolist()


@pytest.mark.parametrize("workers", [1, 3, 16, None])
@pytest.mark.parametrize("batch_size", [1, 8, 41, 100])
def test_order_and_batches(files, batch_size, workers):
    batches = list(ImageBatches(files, delayed, batch_size, workers))
    starts = list(range(0, 41, batch_size))
    assert [batch.start for batch in batches] == starts
    assert [len(batch.items) for batch in batches] == [min(batch_size, 41 - s) for s in starts]
    items = [item for batch in batches for item in batch.items]
    assert [(item.index, item.path, item.error) for item in items] == [
        (index, path, None) for index, path in enumerate(files)
    ]
    assert all(item.ok for item in items)
    assert [red for batch in batches for red in reds(batch)] == list(range(41))
    assert batches[0].images.shape == (len(batches[0].items), 3, 4, 4)


def test_errors_keep_their_place(files):
    files[2].write_bytes(b"")
    files[3].write_bytes(files[3].read_bytes()[:50])
    for path in files[8:16]:
        path.write_text("no image")
    files[40] = files[40].with_name("missing.png")
    batches = list(ImageBatches(files, delayed, 8, 3))

    items = [item for batch in batches for item in batch.items]
    assert [item.path for item in items] == files
    failed = [item.index for item in items if not item.ok]
    assert failed == [2, 3, *range(8, 16), 40]
    assert (items[2].error, items[40].error) == ("the file is empty", "no such file")
    assert reds(batches[0]) == [0, 1, 4, 5, 6, 7]  # no other image stands in for a failed one
    assert batches[1].images is None
    assert batches[-1].images is None
    assert [red for batch in batches for red in reds(batch)] == [
        index for index in range(41) if index not in failed
    ]


def test_equals_reading_one_by_one(photos, save):
    cfg = {"interpolation": "bilinear", "mean": (0.5,), "std": (0.2,), "crop_pct": 0.875}
    transform = create_transform(input_size=(1, 64, 64), **cfg)
    paths = [save(photo, f"{name}.jpg") for name, photo in photos.items()]
    (batch,) = ImageBatches(paths, transform)  # reads as "L", the transform's mode
    expected = [transform(read_image(path, "L")) for path in paths]
    assert torch.equal(batch.images, torch.stack(expected))


def test_no_paths():
    assert list(ImageBatches([], to_tensor)) == []


def test_each_iteration_starts_anew(files):
    batches = ImageBatches(files, to_tensor)
    assert [batch.start for batch in batches] == [batch.start for batch in batches]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_memory_is_bounded_by_a_few_batches(files, batch_size):
    workers = 3
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    lock = threading.Lock()
    drawn = most = 0

    def counted(image):
        nonlocal most
        tensor = to_tensor(image)
        with lock:
            alive.add(tensor)
            most = max(most, len(alive))
        return tensor

    def endless():
        nonlocal drawn
        for path in itertools.cycle(files):
            drawn += 1
            yield path

    ahead = pipeline.AHEAD * batch_size + workers
    with ImageBatches(endless(), counted, batch_size, workers) as batches:
        for taken, batch in enumerate(itertools.islice(batches, 20), 1):
            time.sleep(0.005)  # slower than the workers
            assert drawn <= taken * batch_size + ahead
            del batch
    assert most <= ahead + batch_size


def test_works_ahead_of_the_consumer(files):
    done = threading.Event()

    def last_of_second_batch(image):
        if image.getpixel((0, 0))[0] == 7:
            done.set()
        return to_tensor(image)

    with ImageBatches(files, last_of_second_batch, 4, 2) as batches:
        iterator = iter(batches)
        next(iterator)
        assert done.wait(10)


def test_break_ends_the_threads(files):
    for batch in ImageBatches(files, delayed, 4, 3):
        if batch.start:
            break
    assert image_threads() == []


def test_close_in_the_middle(files):
    batches = ImageBatches(files, delayed, 4, 3)
    iterators = [iter(batches), iter(batches)]
    for iterator in iterators:
        next(iterator)
    assert image_threads()
    batches.close()
    assert image_threads() == []
    assert [next(iterator, None) for iterator in iterators] == [None, None]
    batches.close()  # again is harmless


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_exception_in_the_consumer(files, error):
    def consume():
        with ImageBatches(files, delayed, 4, 3) as batches:
            for _ in batches:
                raise error

    with pytest.raises(error):
        consume()
    assert image_threads() == []


def test_interrupt_while_waiting(files):
    """Ctrl-C while the main thread waits for an image: only images under way are finished."""
    begun = []

    def slow(image):
        begun.append(image)
        time.sleep(0.2)
        return to_tensor(image)

    before = signal.signal(signal.SIGINT, interrupt)  # a shell may ignore it
    try:
        threading.Timer(0.05, signal_self, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            next(iter(ImageBatches(files, slow, 8, 3)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert image_threads() == []
    assert len(begun) <= 3


def test_bug_in_the_transform_is_raised(files):
    def buggy(image):
        if image.getpixel((0, 0))[0] == 9:
            raise KeyError("a bug")
        return to_tensor(image)

    batches = iter(ImageBatches(files, buggy, 4, 3))
    assert [reds(next(batches)), reds(next(batches))] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(KeyError, match="a bug"):
        next(batches)
    assert image_threads() == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ImageError("too odd"), "too odd"), (MemoryError(), "not enough memory to prepare it")],
)
def test_transform_that_refuses_one_image(files, error, reason):
    def refuse(image):
        if image.getpixel((0, 0))[0] == 1:
            raise error
        return to_tensor(image)

    (batch,) = ImageBatches(files[:3], refuse)
    assert [item.error for item in batch.items] == [None, reason, None]
    assert reds(batch) == [0, 2]


def test_error_of_the_path_iterator_is_raised(files):
    def failing():
        yield files[0]
        raise OSError("listing failed")

    with pytest.raises(OSError, match="listing failed"):
        list(ImageBatches(failing(), to_tensor))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "batch_size must be at least 1, got 0"), ({"workers": 0}, "workers must")],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        ImageBatches([], to_tensor, **options)


CFG = {"interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.2,) * 3, "crop_pct": 0.875}


@pytest.fixture
def transform():
    return create_transform(input_size=(3, 48, 64), **CFG)


@pytest.fixture
def contents(photos):
    """Two photographs around one that no decoder gets through, and one that is none."""
    china, flower = (encoded(photo, "JPEG") for photo in photos.values())
    return [china, endless_jpeg(2000, 3000), b"no image", flower]


def test_samples_keep_their_names(files, transform):
    file = io.BytesIO(files[2].read_bytes())
    samples = [Sample("a", str(files[0]), 7), Sample("b", files[1].read_bytes()), Sample("c", file)]
    (batch,) = ImageBatches(samples, to_tensor)
    assert [(item.path.name, item.path.label) for item in batch.items] == [
        ("a", 7), ("b", None), ("c", None)
    ]  # fmt: skip
    assert reds(batch) == [0, 1, 2]


@pytest.mark.parametrize("isolate", [False, True])
def test_pixels(photos, transform, isolate):
    contents = [encoded(photo, "PNG") for photo in photos.values()]
    (batch,) = ImageBatches(contents, transform, isolate=isolate, pixels=True, pin_memory=True)
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (2, 48, 64, 3)
    assert batch.images.is_contiguous()
    assert batch.images.is_pinned() == torch.cuda.is_available()
    for found, photo in zip(batch.images, photos.values(), strict=True):
        assert np.array_equal(found, transform.pixels(photo))
        assert torch.equal(transform.normalize(found.numpy()), transform(photo))


def test_isolated(contents, transform):
    """One row each, and the others' tensors are those of threads, bit for bit."""
    limits = Limits(seconds=1.5)
    with ImageBatches(contents, transform, workers=2, limits=limits, isolate=True) as batches:
        (batch,) = batches
    assert [item.error for item in batch.items] == [
        None, "took longer than 1.5 s", "not an image in a known format, or its header is damaged",
        None,
    ]  # fmt: skip
    (expected,) = ImageBatches([contents[0], contents[3]], transform)
    assert torch.equal(batch.images, expected.images)


def test_stopping_waits_for_no_process(contents, transform):
    """A signal's exception in the consumer: the decoder under way is killed."""
    before = signal.signal(signal.SIGTERM, interrupt)
    batches = ImageBatches([contents[1]] * 3, transform, limits=Limits(seconds=500), isolate=True)
    try:
        threading.Timer(1, signal_self, [signal.SIGTERM]).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(iter(batches))
        assert time.monotonic() - start < 6
    finally:
        signal.signal(signal.SIGTERM, before)


def test_turbo(photos, transform):
    content = encoded(photos["china"], "JPEG")
    (batch,) = ImageBatches([content], transform, decode="turbo", pixels=True)
    exact = transform.pixels(read_image(content)).astype(int)
    expected = np.asarray(Decoder(transform.geometry, decode="turbo")(content))
    assert np.array_equal(batch.images[0], expected)
    assert 0 < abs(expected - exact).max() < 12


def test_limits_in_threads(transform):
    limits = Limits(pixels=100, resized_pixels=10**5)
    sources = [png_line(100), png_line(101), png_line(60)]
    (batch,) = ImageBatches(sources, transform, limits=limits)
    assert [item.error and item.error.split(":")[0] for item in batch.items] == [
        "too elongated", "too large", "too elongated",
    ]  # fmt: skip


def test_it_says_where_the_time_went(files, monkeypatch):
    def slow(image):
        time.sleep(0.02)
        return to_tensor(image)

    batches = ImageBatches(files, slow, 8, 2)
    list(batches)
    spent = batches.spent
    assert spent.images == 41
    assert spent.loading >= 41 * 0.02
    assert 0 < spent.waiting < spent.loading
    list(batches)
    assert spent.images == 82


@pytest.mark.parametrize("options", [{"isolate": True}, {"pixels": True}, {"decode": "turbo"}])
def test_options_that_need_a_known_transform(options):
    with pytest.raises(ConfigError, match="need a transform of create_transform"):
        ImageBatches([], to_tensor, **options)


def test_unknown_decode(transform):
    with pytest.raises(ConfigError, match="unknown decode 'fast'"):
        ImageBatches([], transform, decode="fast")


def test_large_contents_are_not_read_far_ahead(monkeypatch):
    """Of members of a tar, each with its content, no more wait than fit."""
    monkeypatch.setattr("r2n_kernels.data.pipeline.AHEAD_BYTES", 1000)
    read = []

    def samples():
        for number in range(40):
            read.append(number)
            yield Sample(f"{number}", bytes(400))

    def transform(image):
        raise AssertionError("no image is read")

    with ImageBatches(samples(), transform, batch_size=4, workers=1) as batches:
        iterator = iter(batches)
        first = next(iterator)
        assert [item.path.name for item in first.items] == ["0", "1", "2", "3"]
        assert {item.path.source for item in first.items} == {b""}
        assert len(read) <= 4 + 3
        assert sum(len(batch.items) for batch in iterator) == 36
