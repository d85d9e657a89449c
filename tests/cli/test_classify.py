from __future__ import annotations

import csv
import json
import os
import re

import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.data import create_transform, read_image, resolve_model_data_config

NAMES = ["ant", "bee", "cat", "dog", "eel"]
SUMMARY = "10 images: 6 ok, 4 failed, "


@pytest.fixture
def folder(hostile, tmp_path):
    return str(tmp_path / "in")


@pytest.fixture
def probabilities(tiny):
    """What the model itself says of a file, [classes]."""
    network = create_model(f"local-dir:{tiny}", pretrained=True)
    transform = create_transform(**resolve_model_data_config(network))

    @torch.no_grad()
    def of(path):
        return network(transform(read_image(path))[None]).softmax(dim=1)[0]

    return of


def read_jsonl(path):
    with open(path, encoding="ascii") as file:
        return [json.loads(line) for line in file]


def read_csv(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("batch_size", ["1", "3", "64"])
def test_hostile_folder_as_jsonl(
    capfd, recwarn, hostile, folder, model, probabilities, tmp_path, batch_size
):
    output = str(tmp_path / "out.jsonl")
    arguments = ["--output", output, "--topk", "2", "--batch-size", batch_size]
    assert main(["classify", folder, *model, *arguments]) == 0
    assert not [warning for warning in recwarn if "PIL" in warning.filename]
    rows = read_jsonl(output)
    assert [row["path"] for row in rows] == list(hostile)
    for row, (path, reason) in zip(rows, hostile.items(), strict=True):
        if reason is not None:
            assert row["status"] == "error"
            assert reason in row["error"]
            assert row["topk"] == []
            continue
        assert (row["status"], row["error"]) == ("ok", None)
        values, indices = probabilities(path).topk(2)
        assert [entry["index"] for entry in row["topk"]] == indices.tolist()
        assert [entry["label"] for entry in row["topk"]] == [NAMES[i] for i in indices.tolist()]
        found = torch.tensor([entry["probability"] for entry in row["topk"]])
        torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-6)
    out, err = capfd.readouterr()
    assert out == ""
    origin, why, where, rates, summary = err.splitlines()  # no progress bar
    assert why.startswith("backend 'openvino': ")
    assert where.startswith("runs on cpu: openvino, float32, ")
    assert re.fullmatch(r"decoding [\d.]+ img/s, the model [\d.]+ img/s: .+ waits? for .+", rates)
    assert origin.startswith("weights from ")
    assert "licence mit" in origin
    assert summary.startswith(SUMMARY)
    assert summary.endswith(f"img/s, in {output}")


def test_hostile_folder_as_csv(hostile, folder, model, tmp_path):
    output = str(tmp_path / "out.csv")
    assert main(["classify", folder, *model, "--output", output, "--strict"]) == 1
    rows = read_csv(output)
    assert {row["path"]: row["status"] for row in rows} == {
        path: "ok" if reason is None else "error" for path, reason in hostile.items()
    }
    assert [row["path"] for row in rows] == list(hostile)
    good = next(row for row in rows if row["status"] == "ok")
    assert good["top1_label"] == NAMES[int(good["top1_index"])]
    assert float(good["top1_probability"]) >= float(good["top5_probability"])


def test_table(capsys, hostile, folder, model):
    assert main(["classify", folder, *model, "--topk", "2"]) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["path", "status", "probability", "index", "label"]
    assert len([row for row in rows if "  error   " in row]) == 4
    assert len([row for row in rows if "%" in row]) == 12
    assert "caf\\xe9.png" in out
    assert "b\\nnewline.jpg" in out
    assert not any("\udc80" <= character <= "\udcff" for character in out)
    assert err.splitlines()[-1].startswith(SUMMARY)


def test_strict_where_all_is_well(hostile, model):
    good = [path for path, reason in hostile.items() if reason is None]
    assert main(["classify", *good, *model, "--strict"]) == 0


def test_order_of_arguments_and_glob(capsys, monkeypatch, photo, model, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo.resize((64, 64)).save(name)
    assert main(["classify", "b.png", "**/[ac].png", "b.png", *model, "--topk", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["b.png", "a.png", "sub/c.png", "b.png"]


def test_folder_without_images_beside_others_is_a_row(capsys, hostile, tmp_path, model):
    """A shell's `in/*` names the subfolder too."""
    folder = tmp_path / "in"
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    assert main(["classify", *paths, *model, "--topk", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.count("  error   is a folder\n") == 1
    assert "11 images: 6 ok, 5 failed" in err


def test_missing_file_is_a_row(capsys, hostile, model, tmp_path):
    good = str(tmp_path / "in" / "good.jpg")
    assert main(["classify", "missing.png", good, *model]) == 0
    out, err = capsys.readouterr()
    assert "missing.png" in out
    assert "error   no such file" in out
    assert "2 images: 1 ok, 1 failed" in err
    assert main(["classify", "missing.png", good, *model, "--strict"]) == 1


def test_nothing_could_be_read(capsys, model):
    assert main(["classify", "missing.png", "gone.png", *model]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1] == "missing.png  error   no such file"
    assert err.splitlines()[-1] == "2 images: none could be read"


def test_more_classes_than_there_are(capsys, hostile, model, tmp_path):
    good = str(tmp_path / "in" / "good.jpg")
    output = str(tmp_path / "out.csv")
    assert main(["classify", good, *model, "--topk", "7"]) == 0
    assert capsys.readouterr().out.count("%") == 5
    assert main(["classify", good, *model, "--topk", "7", "--output", output]) == 0
    (row,) = read_csv(output)
    assert row["top5_index"] != ""
    assert row["top7_index"] == ""


def test_dtype(hostile, model, probabilities, tmp_path):
    good = str(tmp_path / "in" / "good.jpg")
    output = str(tmp_path / "out.jsonl")
    assert main(["classify", good, *model, "--dtype", "bfloat16", "--output", output]) == 0
    (row,) = read_jsonl(output)
    best = probabilities(good)[row["topk"][0]["index"]]
    assert row["topk"][0]["probability"] == pytest.approx(float(best), rel=0.1)


def test_digits(capsys):
    images = DIGITS / "images"
    assert main(["classify", str(images / "digit_3*.png"), "--model", "digits", "--topk", "1"]) == 0
    out, err = capsys.readouterr()
    assert [row.split()[-1] for row in out.splitlines() if "%" in row] == ["3", "3"]
    assert "2 images: 2 ok, 0 failed" in err


class TestRefused:
    """One line on standard error, exit code 2, before any work."""

    @pytest.fixture
    def refusal(self, capsys, monkeypatch, tmp_path, photo):
        monkeypatch.chdir(tmp_path)
        photo.resize((64, 64)).save("a.png")
        (tmp_path / "empty").mkdir()

        def refuse(*arguments):
            assert main(["classify", *arguments]) == 2
            out, err = capsys.readouterr()
            assert out == ""
            assert "Traceback" not in err
            return err

        return refuse

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["empty"], "no image in folder 'empty'"),
            (["*.bmp"], "no file matches '*.bmp'"),
            (["a.png", "--output", "out.txt"], "its suffix must be one of .csv, .jsonl, .parquet"),
            (["a.png", "--output", "no/out.csv"], "out.csv': there is no such folder"),
            (["a.png", "--output", "folder.csv/"], "'folder.csv/': it is a folder"),
            (["a.png", "--num-classes", "3"], "--num-classes describes --weights"),
            (["a.png", "--model", "res2net51"], "unknown model 'res2net51'; nearest: "),
            (["a.png", "--model", "local-dir:no"], "no: no such file or folder"),
            (["a.png", "--weights", "no.pth"], "no.pth: no such file or folder"),
            (["a.png", "--weights", "a.png"], "expected a file named .safetensors"),
            (["a.png", "--device", "toaster"], "--device: expected cpu, cuda or cuda:N"),
            (["a.png", "--dtype", "float16"], "--dtype float16 needs a GPU"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_input(self, refusal, arguments, reason):
        err = refusal(*arguments)
        assert err.startswith("r2n: error: ")
        assert reason in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize("option", ["--topk", "--batch-size", "--workers", "--num-classes"])
    @pytest.mark.parametrize("value", ["0", "-1", "x"])
    def test_counts(self, refusal, option, value):
        err = refusal("a.png", option, value)
        wanted = f"argument {option}: expected a whole number of at least 1, got '{value}'"
        assert err.splitlines()[-1] == f"r2n classify: error: {wanted}"

    def test_no_path(self, refusal):
        assert "the following arguments are required: PATH" in refusal()

    def test_classes_that_do_not_fit(self, refusal, tiny):
        weights = str(tiny / "model.safetensors")
        arguments = ["--model", "res2net50_26w_4s", "--weights", weights, "--num-classes", "7"]
        err = refusal("a.png", *arguments)
        assert "fc.weight: expected (7, 128), found (5, 128)" in err

    def test_earlier_result_is_kept(self, refusal, tmp_path):
        (tmp_path / "out.csv").write_text("earlier")
        refusal("a.png", "--model", "local-dir:no", "--output", "out.csv")
        assert (tmp_path / "out.csv").read_text() == "earlier"
        assert sorted(os.listdir(tmp_path)) == ["a.png", "empty", "out.csv"]

    def test_model_without_classifier(self, refusal, tiny, tmp_path):
        from safetensors.torch import load_file, save_file

        config = json.loads((tiny / "config.json").read_text())
        del config["pretrained_cfg"]["label_names"]
        for holder in (config, config["pretrained_cfg"], config["model_args"]):
            holder["num_classes"] = 0
        folder = tmp_path / "headless"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        state = load_file(tiny / "model.safetensors")
        trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
        save_file(trunk, folder / "model.safetensors")
        err = refusal("a.png", "--model", f"local-dir:{folder}")
        assert "this model has no classifier; use `r2n embed`" in err
