from __future__ import annotations

import json

import pyarrow as pa
import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import columns
from r2n_kernels.sources.columns import Columns, columns_of
from r2n_kernels.sources.sample import Broken, Remote, Sample

HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def chosen(column=None, labelled=False, **fields):
    return columns_of(pa.schema(list(fields.items())), "t.parquet", column, labelled)


def cell(kind, value, table="d/t.parquet"):
    batch = pa.record_batch([pa.array([None, value], kind)], ["image"])
    return Columns(table, "image").sample(batch, 1, 7)


class TestChoice:
    def test_of_images(self):
        assert chosen(x=pa.int64(), path=pa.string(), img=HF).image == "img"
        assert chosen(column="path", path=pa.string(), img=HF).image == "path"

    @pytest.mark.parametrize(
        "kind", [HF, pa.struct([("bytes", pa.binary()), ("path", pa.null())]), pa.null(),
                 pa.struct([("path", pa.string())]), pa.binary(), pa.large_binary(),
                 pa.binary(4), pa.string(), pa.large_string()],
    )  # fmt: skip
    def test_kinds(self, kind):
        assert chosen(x=kind, column="x").names == ["x"]

    @pytest.mark.parametrize(
        ("fields", "options", "told"),
        [
            ({"x": pa.binary()}, {}, "'t.parquet' has no column of images by its name; .*: x$"),
            ({"x": pa.binary()}, {"column": "y"}, "has no column 'y'; its columns: x$"),
            ({"image": pa.list_(pa.int8())}, {}, "column 'image' holds list<.*not bytes or paths"),
            ({"image": pa.struct([("a", HF)])}, {}, "column 'image' holds struct"),
            ({"image": HF}, {"labelled": True}, "none of the columns label, labels, cls"),
            ({"image": HF, "label": pa.float32()}, {"labelled": True}, "'label' holds float, not"),
        ],
    )
    def test_refusals(self, fields, options, told):
        with pytest.raises(ConfigError, match=told):
            chosen(**fields, **options)

    def test_columns_of_one_name(self):
        schema = pa.schema([("image", HF), ("image", HF)])
        with pytest.raises(ConfigError, match="more than one column 'image'"):
            columns_of(schema, "t.parquet", None, False)

    @pytest.mark.parametrize(
        "kind", [pa.int64(), pa.uint8(), pa.string(), pa.dictionary(pa.int8(), pa.string())]
    )
    def test_labels(self, kind):
        found = chosen(image=HF, cls=kind, fine_label=pa.int8(), labelled=True)
        assert (found.label, found.classes) == ("cls", None)
        assert chosen(image=HF, cls=kind).label is None

    @pytest.mark.parametrize(
        ("names", "classes"),
        [(["cat", "dog"], ("cat", "dog")), ([], None), ([1], None), ("cat", None)],
    )
    def test_classes(self, names, classes):
        features = {"label": {"_type": "ClassLabel", "names": names}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        schema = pa.schema([("image", HF), ("label", pa.int64())], metadata)
        assert columns_of(schema, "t", None, True).classes == classes
        foreign = schema.with_metadata({"huggingface": "[1"})
        assert columns_of(foreign, "t", None, True).classes is None


class TestSample:
    def test_bytes(self, monkeypatch):
        assert cell(pa.binary(), b"1") == Sample("d/t.parquet#7", b"1")
        assert cell(pa.binary(), None) == Sample("d/t.parquet#7", Broken("no image in this row"))
        monkeypatch.setattr(columns, "MOST", 1 << 20)
        assert cell(pa.binary(), b"1" * (2 << 20)).source == Broken("larger than 1 MiB")

    def test_structs(self):
        """The name is the image's own, where it has one; bytes come before a path."""
        assert cell(HF, {"bytes": b"1", "path": "a.jpg"}) == Sample("a.jpg", b"1")
        assert cell(HF, {"bytes": b"1", "path": None}) == Sample("d/t.parquet#7", b"1")
        assert cell(HF, {"bytes": None, "path": "a.jpg"}) == Sample("d/a.jpg", "d/a.jpg")
        nothing = Sample("d/t.parquet#7", Broken("no image in this row"))
        assert cell(HF, {"bytes": None, "path": None}) == nothing
        assert cell(HF, None) == cell(pa.null(), None) == nothing
        untold = pa.struct([("bytes", pa.binary()), ("path", pa.null())])
        assert cell(untold, {"bytes": b"1", "path": None}) == Sample("d/t.parquet#7", b"1")
        assert cell(pa.struct([("bytes", pa.binary())]), {"bytes": b"1"}).source == b"1"

    @pytest.mark.parametrize(
        ("table", "path", "found"),
        [
            ("d/t.parquet", "a.jpg", "d/a.jpg"),
            ("t.parquet", "a.jpg", "a.jpg"),
            ("/t.parquet", "a.jpg", "/a.jpg"),
            ("d/t.parquet", "/x/a.jpg", "/x/a.jpg"),
        ],
    )
    def test_paths_are_beside_the_table(self, table, path, found):
        assert cell(pa.string(), path, table) == Sample(found, found)

    def test_urls(self):
        assert cell(pa.string(), "s3://b/a.jpg").source == Remote("s3://b/a.jpg")
        remote = cell(pa.string(), "a.jpg", "s3://b/d/t.parquet")
        assert remote == Sample("s3://b/d/a.jpg", Remote("s3://b/d/a.jpg"))

    def test_a_path_that_is_not_utf8(self):
        raw = pa.array([b"", b"caf\xe9.jpg"], pa.binary()).cast(pa.string(), safe=False)
        batch = pa.record_batch([raw], ["image"])
        assert Columns("t", "image").sample(batch, 1, 7).name == "caf\udce9.jpg"

    def test_labels(self):
        batch = pa.record_batch(
            [pa.array([b"1", b"2"]), pa.array(["a", None]).dictionary_encode()], ["image", "label"]
        )
        found = [Columns("t", "image", "label").sample(batch, i, i).label for i in range(2)]
        assert found == ["a", None]
