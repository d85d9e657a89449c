from __future__ import annotations

import csv
import json

import pytest

from r2n_kernels.results import RowWriter

TOP = [(281, "tabby, tabby cat", 0.75), (7, None, 0.125)]


def read_csv(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def read_jsonl(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_jsonl(tmp_path):
    with RowWriter(tmp_path / "out.jsonl", topk=2) as writer:
        writer.write("a.png", TOP)
        writer.write("b.png", error="no such file")
    assert writer.rows == 2
    assert read_jsonl(tmp_path / "out.jsonl") == [
        {
            "path": "a.png",
            "status": "ok",
            "error": None,
            "topk": [
                {"index": 281, "label": "tabby, tabby cat", "probability": 0.75},
                {"index": 7, "label": None, "probability": 0.125},
            ],
        },
        {"path": "b.png", "status": "error", "error": "no such file", "topk": []},
    ]


def test_csv(tmp_path):
    with RowWriter(tmp_path / "out.csv", topk=3) as writer:
        writer.write("a.png", TOP)
        writer.write("b.png", error="no such file")
    ok, failed = read_csv(tmp_path / "out.csv")
    assert list(ok) == ["path", "status", "error"] + [
        f"top{k}_{key}" for k in (1, 2, 3) for key in ("index", "label", "probability")
    ]
    assert list(ok.values()) == (
        ["a.png", "ok", "", "281", "tabby, tabby cat", "0.75", "7", "", "0.125", "", "", ""]
    )
    assert list(failed.values()) == ["b.png", "error", "no such file"] + [""] * 9


def test_empty(tmp_path):
    for name in ("out.jsonl", "out.csv"):
        with RowWriter(tmp_path / name):
            pass
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert read_csv(tmp_path / "out.csv") == []


@pytest.mark.parametrize(("name", "read"), [("out.jsonl", read_jsonl), ("out.csv", read_csv)])
def test_names_survive(tmp_path, hard_names, name, read):
    with RowWriter(tmp_path / name, topk=1) as writer:
        for hard in hard_names:
            writer.write(hard, [(0, hard, 1.0)])
            writer.write(hard, error=hard)
    rows = read(tmp_path / name)
    assert [row["path"] for row in rows] == [hard for hard in hard_names for _ in "12"]
    assert [row["error"] for row in rows[1::2]] == hard_names
    key = "top1_label"
    labels = [row[key] if key in row else row["topk"][0]["label"] for row in rows[::2]]
    assert labels == hard_names


def test_bytes_and_pathlike(tmp_path):
    with RowWriter(tmp_path / "out.jsonl") as writer:
        writer.write(b"caf\xe9.png")
        writer.write(tmp_path)
    paths = [row["path"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert paths == ["caf\udce9.png", str(tmp_path)]


def test_jsonl_is_strict_json(tmp_path):
    with RowWriter(tmp_path / "out.jsonl") as writer:
        writer.write("a.png", [(0, "x", float("nan")), (1, "y", float("inf"))])
    (row,) = read_jsonl(tmp_path / "out.jsonl")
    assert [entry["probability"] for entry in row["topk"]] == [None, None]


def test_rows_are_on_disk_at_once(tmp_path):
    with RowWriter(tmp_path / "out.jsonl") as writer:
        writer.write("a.png", TOP)
        (temporary,) = tmp_path.iterdir()  # what a killed run leaves
        assert temporary.name.startswith("out.jsonl.")
        assert len(read_jsonl(temporary)) == 1


def test_misuse(tmp_path):
    with RowWriter(tmp_path / "out.csv", topk=1) as writer:
        with pytest.raises(ValueError, match="2 classes in a row, 1 were announced"):
            writer.write("a.png", TOP)
        with pytest.raises(ValueError, match="either classes or an error"):
            writer.write("a.png", TOP[:1], error="no such file")
    assert read_csv(tmp_path / "out.csv") == []
