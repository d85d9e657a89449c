from __future__ import annotations

import csv
import io
import json
import urllib.parse

import pytest

from r2n_kernels.results import Output, Row

from .conftest import put, rows_of

TOP = [(281, "tabby, tabby cat", 0.75), (7, None, 0.125)]
DATA = [(Row("a.png", None, TOP), None), (Row("b.png", "no such file"), None)]


def read_csv(path, encoding="utf-8", errors="strict"):
    with open(path, newline="", encoding=encoding, errors=errors) as file:
        return list(csv.DictReader(file))


def test_jsonl(tmp_path, lines):
    put(Output(tmp_path / "out.jsonl", "classes", topk=2), DATA)
    assert lines(tmp_path / "out.jsonl") == [
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
    put(Output(tmp_path / "out.csv", "classes", topk=3), DATA)
    ok, failed = read_csv(tmp_path / "out.csv")
    assert list(ok) == ["path", "status", "error"] + [
        f"top{k}_{key}" for k in (1, 2, 3) for key in ("index", "label", "probability")
    ]
    assert list(ok.values()) == (
        ["a.png", "ok", "", "281", "tabby, tabby cat", "0.75", "7", "", "0.125", "", "", ""]
    )
    assert list(failed.values()) == ["b.png", "error", "no such file"] + [""] * 9


def test_no_rows(tmp_path):
    for name in ("out.jsonl", "out.csv"):
        put(Output(tmp_path / name, "classes"), [])
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert read_csv(tmp_path / "out.csv") == []


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_names_survive(tmp_path, hard_names, suffix, lines):
    path = tmp_path / f"out{suffix}"
    put(Output(path, "classes", topk=2), rows_of(hard_names))
    rows = lines(path) if suffix == ".jsonl" else read_csv(path, errors="surrogateescape")
    assert [row["path"] for row in rows] == hard_names
    assert [row["error"] for row in rows[::3]] == [
        f"cannot read {name}" for name in hard_names[::3]
    ]
    label = rows[1]["topk"][0]["label"] if suffix == ".jsonl" else rows[1]["top1_label"]
    assert label == hard_names[1]


def test_percent_makes_a_csv_that_anybody_reads(tmp_path, hard_names):
    path = tmp_path / "out.csv"
    put(Output(path, "classes", names="percent"), rows_of([*hard_names, "\ud800 stray"]))
    rows = read_csv(path)
    names = [urllib.parse.unquote_to_bytes(row["path"]) for row in rows[:-1]]
    assert names == [name.encode("utf-8", "surrogateescape") for name in hard_names]
    assert rows[7]["path"] == "caf%E9%FF%80.png"
    assert rows[9]["path"] == "100%2525.png"
    assert rows[7]["top1_label"] == "caf\\udce9\\udcff\\udc80.png"


def test_formulas_are_text_on_request(tmp_path):
    risky = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"]
    data = [(Row(text, None, [(0, text, 0.5)]), None) for text in risky]
    data += [(Row(text, text), None) for text in risky] + [
        (Row("a=b", None, [(0, "b-c", -0.5)]), None)
    ]
    put(Output(tmp_path / "out.csv", "classes", escape_formulas=True), data)
    rows = read_csv(tmp_path / "out.csv")
    assert [row["path"] for row in rows] == [*(f"'{text}" for text in risky * 2), "a=b"]
    assert [row["top1_label"] for row in rows[:7]] == [f"'{text}" for text in risky]
    assert [row["error"] for row in rows[7:14]] == [f"'{text}" for text in risky]
    assert (rows[14]["top1_label"], rows[14]["top1_probability"]) == ("b-c", "-0.5")
    put(Output(tmp_path / "plain.csv", "classes"), data)
    assert read_csv(tmp_path / "plain.csv")[0]["path"] == "=1+1"


def test_bom(tmp_path):
    put(Output(tmp_path / "out.csv", "classes", bom=True), DATA)
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfpath,status")
    assert read_csv(tmp_path / "out.csv", "utf-8-sig")[0]["path"] == "a.png"


def test_bytes_and_pathlike(tmp_path, lines):
    put(
        Output(tmp_path / "out.jsonl", "classes"),
        [(Row(b"caf\xe9.png"), None), (Row(tmp_path), None)],
    )
    paths = [row["path"] for row in lines(tmp_path / "out.jsonl")]
    assert paths == ["caf\udce9.png", str(tmp_path)]


def test_jsonl_is_strict_json(tmp_path):
    top = [(0, "x", float("nan")), (1, "y", float("inf"))]
    put(Output(tmp_path / "out.jsonl", "classes"), [(Row("a.png", None, top), None)])
    text = (tmp_path / "out.jsonl").read_text()
    (row,) = map(json.loads, io.StringIO(text))
    assert [entry["probability"] for entry in row["topk"]] == [None, None]


def test_misuse(tmp_path):
    output = Output(tmp_path / "out.csv", "classes", topk=1)
    with pytest.raises(ValueError, match="2 classes in a row, 1 were announced"):
        put(output, DATA)
    with pytest.raises(ValueError, match="either classes or an error"):
        put(output, [(Row("a.png", "no such file", TOP[:1]), None)])
    assert list(tmp_path.iterdir()) == []
