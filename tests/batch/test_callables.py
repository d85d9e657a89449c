"""Batches of columns come back with what a model says of each image, row by row."""

from __future__ import annotations

import json
import pickle
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from r2n_kernels.batch import Classifier, Embedder, callables
from r2n_kernels.cli import main
from r2n_kernels.errors import ConfigError, UnknownModelError

NEW = ["status", "error", "top_index", "top_label", "top_probability"]


@pytest.fixture(scope="module")
def classifier(digits):
    return Classifier(digits, topk=3)


@pytest.fixture(scope="module")
def embedder(digits):
    return Embedder(digits)


def bytes_of(paths):
    return [open(path, "rb").read() for path in paths]


def test_run_bit_identical(classifier, digits, mixed, tmp_path):
    """The same images in the same batches have the bits of `r2n classify`, errors included."""
    output = tmp_path / "out.jsonl"
    words = [*mixed, "--model", digits, "--topk", "3", "--output", str(output)]
    assert main(["classify", *words]) == 0
    told = [json.loads(line) for line in output.read_text().splitlines()]
    found = classifier({"path": mixed})
    assert list(found) == ["path", *NEW]
    for place, row in enumerate(told):
        tops = zip(*(found[name][place] for name in NEW[2:]), strict=True)
        assert row == {
            "path": found["path"][place],
            "status": found["status"][place],
            "error": found["error"][place],
            "topk": [dict(zip(("index", "label", "probability"), t, strict=True)) for t in tops],
        }


def test_no_row_moves(classifier, mixed):
    found = classifier({"path": mixed, "label": range(11)})
    assert found["label"] == range(11)
    bad = [place for place, status in enumerate(found["status"]) if status == "error"]
    assert bad == [1, 4]
    assert [found["error"][place] for place in bad] == [
        "not an image in a known format, or its header is damaged", "no such file",
    ]  # fmt: skip
    assert [len(top) for top in found["top_index"]] == [0 if i in bad else 3 for i in range(11)]
    for place, path in enumerate(mixed):
        if place not in bad:
            assert found["top_label"][place][0] == path.rpartition("/")[2].split("_")[1]


def test_every_kind_of_image_is_the_same_image(embedder, photos):
    """Files, bytes, arrays, PIL's and Hugging Face's; and others pass through but those."""
    paths = photos[:3]
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture.convert("L")) for picture in pictures]
    expected = embedder({"path": paths})["embedding"]
    assert expected.dtype == np.float32
    for batch in (
        {"bytes": np.array(bytes_of(paths), object), "path": paths},
        {"image": np.stack(arrays), "path": paths},
        {"image": [np.repeat(array[..., None], 3, axis=2) for array in arrays], "path": paths},
        {"image": pictures, "path": paths},
        {
            "image": [{"bytes": None, "path": paths[0]}]
            + [{"bytes": content, "path": None} for content in bytes_of(paths[1:])],
            "path": paths,
        },
        {"source": [paths[0], open(paths[1], "rb"), *bytes_of(paths[2:])], "path": paths},  # noqa: SIM115
    ):
        found = embedder(batch)
        assert list(found) == ["path", "status", "error", "embedding"]
        assert found["error"] == [None] * 3
        assert np.array_equal(found["embedding"], expected)


def test_what_is_no_image_is_a_row(embedder, photos):
    damaged = Image.open(photos[0])
    damaged.fp.close()
    images = [
        None, "text", {"bytes": None, "path": None}, np.zeros((4, 4, 3)),
        np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8),
        damaged,
    ]  # fmt: skip
    found = embedder({"image": images})
    assert found["status"] == ["error"] * len(images)
    assert found["error"][:5] == [
        "column image has no image, but NoneType",
        "column image has no image, but str",
        "column source has no image, but NoneType",
        "an array must be uint8 [H, W, 3], got float64 [4, 4, 3]",
        "an array must be uint8 [H, W, 3], got uint8 [4, 4, 2]",
    ]
    assert found["error"][7].startswith("damaged image: ")
    assert np.isnan(found["embedding"]).all()
    assert found["embedding"].shape == (8, embedder.run().model.head_hidden_size)


def test_a_table_stays_a_table(classifier, embedder, mixed, digits):
    expected = classifier({"path": mixed})
    table = pa.table({"path": mixed, "key": pa.array(range(11), pa.int8())})
    found = classifier(table)
    assert found.column_names == ["path", "key", *NEW]
    assert found.schema.field("key").type == pa.int8()
    assert {name: found.column(name).to_pylist() for name in NEW} == {
        name: expected[name] for name in NEW
    }
    # types are the same where every row failed, and where there is none
    for rows in (table.slice(1, 1), table.slice(0, 0)):
        assert classifier(rows).schema == found.schema
        assert embedder(rows).schema == embedder(table).schema
    half = Embedder(digits, embedding_dtype="float16")(table)
    assert half.schema.field("embedding").type.value_type == pa.float16()


def test_a_frame_stays_a_frame(embedder, mixed):
    frame = pd.DataFrame({"bytes": bytes_of(mixed[2:4]), "path": mixed[2:4]}, index=[7, 5])
    found = embedder(frame)
    assert list(found.columns) == ["path", "status", "error", "embedding"]
    assert list(found.index) == [7, 5]
    expected = embedder({"path": mixed[2:4]})["embedding"]
    assert np.array_equal(np.stack(list(found["embedding"])), expected)
    assert embedder(frame.iloc[:0]).empty


def test_empty_batches(classifier, embedder):
    assert classifier({"image": [], "key": []}) == {name: [] for name in ["key", *NEW]}
    assert embedder({"bytes": np.empty(0, object)})["embedding"].shape[0] == 0


def test_probabilities(digits, mixed):
    found = Classifier(digits, topk=1, probabilities=True)({"path": mixed})
    every = found["probabilities"]
    assert (every.dtype, every.shape) == (np.float32, (11, 10))
    assert np.isnan(every[[1, 4]]).all()
    assert every[0].max() == found["top_probability"][0][0]
    assert abs(np.delete(every, [1, 4], 0).sum(1) - 1).max() < 1e-5


def test_own_preprocessing(digits, photos):
    told = Embedder(digits, preprocessing={"mean": [0.0], "std": [1.0]})
    plain = Embedder(digits)({"path": photos[:1]})["embedding"]
    assert not np.array_equal(told({"path": photos[:1]})["embedding"], plain)
    model = told.run().model
    assert (model.pretrained_cfg["mean"], model.pretrained_cfg["std"]) == ((0.0,), (1.0,))


def test_only_options_are_pickled(classifier, mixed):
    expected = classifier({"path": mixed})  # its model is made
    pickled = pickle.dumps(classifier)
    assert len(pickled) < 1000
    assert pickle.loads(pickled)({"path": mixed}) == expected


def test_threads_share_one_model(digits, photos, monkeypatch):
    made = []
    create = callables.create_model
    monkeypatch.setattr(callables, "create_model", lambda **how: made.append(1) or create(**how))
    classifier = Classifier(digits, workers=1)
    found = [None] * 4

    def call(place):
        found[place] = classifier({"path": photos[place : place + 1]})["top_label"][0][0]

    threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, found) == ([1], ["0", "0", "1", "1"])


def test_a_bundle(small_bundle, monkeypatch):
    """A bundle's model is asked for with the bundle's own classifier."""
    asked = []

    def create(**how):
        asked.append(how)
        raise UnknownModelError("stop here")

    monkeypatch.setattr(callables, "create_model", create)
    with pytest.raises(UnknownModelError, match="stop here"):
        Embedder(small_bundle, sha256="ab", device="cpu")({"path": []})
    how = asked[0]
    assert (how["model_name"], how["sha256"]) == (str(small_bundle), "ab")
    assert (how["num_classes"], how["dtype"], how["device"]) == (None, None, torch.device("cpu"))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"topk": 0}, "topk must be at least 1, got 0"),
        ({"decode": "fast"}, "decode must be one of exact.*, got 'fast'"),
        ({"dtype": "int8"}, "dtype must be one of float32, bfloat16, float16, got 'int8'"),
    ],
)
def test_wrong_options(digits, options, fault):
    with pytest.raises(ConfigError, match=fault):
        Classifier(digits, **options)


def test_wrong_words(digits, embedder):
    with pytest.raises(ConfigError, match="embedding_dtype must be float32 or float16, got 'x'"):
        Embedder(digits, embedding_dtype="x")
    with pytest.raises(TypeError, match="bach_size"):
        Classifier(digits, bach_size=1)
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N, got 'gpu9'"):
        Classifier(digits, device="gpu9")({"path": []})
    with pytest.raises(ConfigError, match="no classifier; use Embedder"):
        Classifier(digits, num_classes=0)({"path": []})
    with pytest.raises(ConfigError, match="bytes or image or source or path; it has key"):
        embedder({"key": [1]})
    with pytest.raises(TypeError, match=r"a batch must be a dict of columns, .* got list"):
        embedder([1])
