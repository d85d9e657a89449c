from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_transform, resolve_model_data_config

from r2n_kernels import create_model
from r2n_kernels.cli import main, validate_run
from r2n_kernels.cli.bundled import DIGITS

from .conftest import in_class_folders

NAMES = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """The bundled digits in folders of their classes."""
    return in_class_folders(tmp_path_factory.mktemp("digits"))


def own(folder: Path, *names: str) -> list[str]:
    """Write the bundled model with these label names, or with none, and return its arguments."""
    shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("images"), dirs_exist_ok=True)
    told = json.loads((folder / "config.json").read_text())
    for part in (told, told["pretrained_cfg"]):
        part.pop("label_names", None)
    if names:
        told["label_names"] = names
    (folder / "config.json").write_text(json.dumps(told))
    return ["--model", f"local-dir:{folder}"]


def stop_after_two(monkeypatch, arguments: list[str]) -> None:
    """Run r2n validate until two batches are written."""
    rows, left = validate_run.ValidateRun.rows, [2]

    def stopping(self, *batch):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rows(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(validate_run.ValidateRun, "rows", stopping)
        assert main(["validate", *map(str, arguments)]) == 130


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """scikit-learn's two photographs, cut into 24 pieces in five classes of no meaning."""
    datasets = pytest.importorskip("sklearn.datasets")
    root = tmp_path_factory.mktemp("photos")
    for index in range(24):
        image = Image.fromarray(datasets.load_sample_image(("china.jpg", "flower.jpg")[index % 2]))
        x, y = 100 * (index // 4), 50 * (index % 4)
        folder = root / NAMES[index % 5]
        folder.mkdir(exist_ok=True)
        image.crop((x, y, x + 120, y + 90 + index)).save(folder / f"{index:02}.png")
    return root


def summary_of(capsys, *arguments: str, code: int = 0) -> dict:
    capsys.readouterr()
    assert main(["validate", *map(str, arguments), "--json", "-"]) == code
    return json.loads(capsys.readouterr().out)


def timms(root: Path, name: str, k: int) -> tuple[int, int]:
    """What timm's own parts count: its folder dataset, its transform, its network."""
    network = timm.create_model(name, pretrained=True).eval()
    config = resolve_model_data_config(network)
    mode = "RGB" if config["input_size"][0] == 3 else "L"
    dataset = create_dataset("", str(root), input_img_mode=mode)
    dataset.transform = create_transform(**config)
    images, targets = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
    with torch.no_grad():
        best = network(torch.stack(images)).topk(k).indices
    hits = best == torch.tensor(targets)[:, None]
    return int(hits[:, 0].sum()), int(hits.any(dim=1).sum())


@pytest.mark.parametrize("which", ["digits", "tiny"])
def test_counts_are_timms(capsys, digits, photos, tiny, which):
    root, name = (
        (digits, f"local-dir:{DIGITS}") if which == "digits" else (photos, f"local-dir:{tiny}")
    )
    found = summary_of(capsys, root, "--model", name, "--topk", "2", "--against", "timm")
    assert (found["top1"]["right"], found["topk"]["right"]) == timms(root, name, 2)
    assert found["labels"] == "the model's label names"
    assert found["failed"] == 0
    total = found["images"]
    assert found["timm"] == {
        "top1_equal": total, "of": total, "passed": True, "differing": [],
        "error": found["timm"]["error"], "limit": 1e-5,
    }  # fmt: skip


def test_a_permuted_map_lowers_top1(capsys, digits, tmp_path):
    maps = {"right": range(10), "wrong": [1, 0, *range(2, 10)]}
    shares = {}
    for name, names in maps.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{n}\n" for n in names))
        arguments = [digits, "--model", "digits", "--class-map", tmp_path / f"{name}.txt"]
        shares[name] = summary_of(capsys, *arguments)["top1"]["share"]
    assert shares["right"] - shares["wrong"] == pytest.approx(4 / 20)
    arguments = [*arguments, "--min-top1", "90"]
    assert main(["validate", *map(str, arguments)]) == 1
    assert "r2n: top-1 is 80.00 %, below --min-top1 90" in capsys.readouterr().err


def test_table_and_rows(capsys, photos, model, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(photos, root)
    (root / "bee" / "broken.png").write_bytes(b"text")
    (root / "stray.png").write_bytes((photos / "ant" / "00.png").read_bytes())
    output = tmp_path / "rows.jsonl"
    arguments = [str(root), *model, "--output", str(output), "--batch-size", "7"]
    assert main(["validate", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "26 images, labels by the model's label names"
    assert lines[1].startswith("2 images failed, and counted as neither right nor wrong; the first")
    assert lines[2].startswith("top-1 ")
    assert "of 24; 95 % interval" in lines[2]
    assert lines[3].startswith("top-5   100.00%  24 of 24")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 26
    errors = {Path(row["path"]).name: row["error"] for row in rows if row["status"] == "error"}
    assert errors == {
        "broken.png": "not an image in a known format, or its header is damaged",
        "stray.png": "it has no label",
    }  # fmt: skip
    good = [row for row in rows if row["status"] == "ok"]
    assert all(NAMES[row["target"]] == row["label"] for row in good)
    assert all(row["correct"] == (row["topk"][0]["index"] == row["target"]) for row in good)
    assert main(["validate", *arguments, "--strict"]) == 1


def test_resumed_rows_are_those_of_one_run(capsys, photos, model, tmp_path, monkeypatch):
    whole, cut = str(tmp_path / "whole.jsonl"), str(tmp_path / "cut.jsonl")
    arguments = [photos, *model, "--against", "timm", "--batch-size", "5"]
    once = summary_of(capsys, *arguments, "--output", whole)

    stop_after_two(monkeypatch, [*arguments, "--output", cut])
    assert "10 rows kept" in capsys.readouterr().err
    other = [*map(str, arguments), "--output", cut, "--resume", "--mean", "0.4"]
    assert main(["validate", *other]) == 2
    assert "was begun with" in capsys.readouterr().err
    again = summary_of(capsys, *arguments, "--output", cut, "--resume")
    assert again["timing"]["images"] == 14
    assert {**again, "timing": None} == {**once, "timing": None}
    assert Path(cut).read_text() == Path(whole).read_text()


def test_rows_of_other_labels_are_not_resumed(capsys, digits, tmp_path, monkeypatch):
    rows = [str(digits), "--output", str(tmp_path / "rows.jsonl"), "--batch-size", "5"]
    stop_after_two(monkeypatch, [*rows, *own(tmp_path / "own", *"0123456789")])
    rotated = own(tmp_path / "own", *"1234567890")
    assert main(["validate", *rows, *rotated, "--resume"]) == 2
    assert "was begun with labels" in capsys.readouterr().err


def test_rows_of_standard_input_are_resumed(capsys, digits, tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    paths = sorted(digits.rglob("*.png"))
    labels = [int(path.parent.name) for path in paths]
    table = pa.table({"image": [path.read_bytes() for path in paths], "label": labels})
    rows = ["-", "--model", "digits", "--column", "image", "--batch-size", "5"]
    rows += ["--output", str(tmp_path / "rows.jsonl")]

    def pipe(name: str) -> None:
        parquet.write_table(table, tmp_path / name)
        text = f"{tmp_path / name}\n".encode()
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))

    pipe("set.parquet")
    stop_after_two(monkeypatch, rows)
    pipe("other.parquet")
    assert main(["validate", *rows, "--resume"]) == 2
    pipe("set.parquet")
    found = summary_of(capsys, *rows, "--resume")
    assert (found["images"], found["timing"]["images"], found["top1"]["right"]) == (20, 10, 20)


def test_a_shard_takes_the_folders_of_the_whole_set(capsys, digits, tmp_path):
    found = summary_of(capsys, digits, *own(tmp_path / "own"), "--shard", "0/4")
    assert found["labels"] == "the sorted names of the folders"
    assert found["top1"]["right"] == found["top1"]["of"] == 5


def test_timm_that_differs(capsys, photos, model, monkeypatch, tmp_path):
    """Another crop in timm's hands: the logits are not met, and the images are named."""
    real = validate_run.preprocessing_from
    monkeypatch.setattr(
        validate_run, "preprocessing_from", lambda a, c: {**real(a, c), "crop_pct": 0.5}
    )
    assert main(["validate", str(photos), *model, "--against", "timm"]) == 1
    out, err = capsys.readouterr()
    assert "FAIL" in out
    assert "the logits are further from the truth than timm's may be" in err


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_half_precision(capsys, photos, model, dtype):
    found = summary_of(capsys, photos, *model, "--against", "timm", "--dtype", dtype)
    assert found["timm"]["passed"]


def test_parquet_labels(capsys, digits, tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    paths = sorted(digits.rglob("*.png"))
    numbers = [int(path.parent.name) for path in paths]
    contents = [path.read_bytes() for path in paths]
    whole = summary_of(capsys, digits, "--model", "digits")
    for name, labels in (("ints", numbers), ("texts", list(map(str, numbers)))):
        file = tmp_path / f"{name}.parquet"
        parquet.write_table(pa.table({"image": contents, "label": labels}), file)
        found = summary_of(capsys, file, "--model", "digits", "--column", "image")
        assert found["top1"] == whole["top1"]
    # as `datasets` writes labels whose names the model has, under other numbers
    table = pa.table({"image": contents, "label": [9 - number for number in numbers]})
    features = {"label": {"names": list("9876543210"), "_type": "ClassLabel"}}
    told = json.dumps({"info": {"features": features}})
    file = tmp_path / "renumbered.parquet"
    parquet.write_table(table.replace_schema_metadata({"huggingface": told}), file)
    found = summary_of(capsys, file, "--model", "digits", "--column", "image")
    assert found["top1"] == whole["top1"]
    # the same, where one more class is none of the model's
    features = {"label": {"names": ["unknown", *"9876543210"], "_type": "ClassLabel"}}
    table = pa.table({"image": contents, "label": [0, *(10 - number for number in numbers[1:])]})
    told = json.dumps({"info": {"features": features}})
    parquet.write_table(table.replace_schema_metadata({"huggingface": told}), file)
    found = summary_of(capsys, file, "--model", "digits", "--column", "image")
    assert (found["failed"], found["top1"]["of"]) == (1, 19)
    assert found["top1"]["right"] >= whole["top1"]["right"] - 1
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(f"{file}\n".encode())))
    assert main(["validate", "-", "--model", "digits", "--column", "image"]) == 2
    assert "its labels have names, which only an argument's are known" in capsys.readouterr().err
    file = tmp_path / "wrong.parquet"
    parquet.write_table(pa.table({"image": contents, "label": [10, *numbers[1:]]}), file)
    found = summary_of(capsys, file, "--model", "digits", "--column", "image")
    assert (found["failed"], found["top1"]["of"]) == (1, 19)


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "reason"),
        [
            (["--resume"], "--resume goes on with the rows of --output, which is not given"),
            (["--output", "rows.csv"], "rows with labels are written as .jsonl"),
            (["--model", "digits", "--class-map", "no.txt"], "class map no.txt: No such file"),
            (["--model", "digits", "--json", "no/x.json"], "--json 'no/x.json'"),
        ],
    )
    def test_arguments(self, capsys, digits, more, reason):
        assert main(["validate", str(digits), *more]) == 2
        assert reason in capsys.readouterr().err

    def test_labels_that_are_no_class(self, capsys, photos):
        assert main(["validate", str(photos), "--model", "digits"]) == 2
        wanted = "no class of the model's label names: ant, bee, cat, dog, eel; --class-map says"
        assert wanted in capsys.readouterr().err

    def test_no_image_counted(self, capsys, photos, model):
        assert main(["validate", str(photos / "ant" / "00.png"), *model]) == 2
        err = capsys.readouterr().err
        assert "no image could be counted; the first: " in err
        assert "00.png: it has no label" in err

    def test_percent(self, capsys):
        assert main(["validate", "x", "--min-top1", "101"]) == 2
        assert "expected a number from 0 to 100, got '101'" in capsys.readouterr().err

    def test_weights_that_timm_cannot_load(self, capsys, photos, tmp_path):
        state = create_model("res2net50_48w_2s", num_classes=5).state_dict()
        torch.save({"net": {f"odd.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
        words = ["--model", "res2net50_48w_2s", "--weights", str(tmp_path / "w.pth")]
        names = "".join(f"{name}\n" for name in NAMES)
        (tmp_path / "names.txt").write_text(names)
        words += ["--class-map", str(tmp_path / "names.txt"), "--against", "timm"]
        assert main(["validate", str(photos), *words]) == 2
        err = capsys.readouterr().err
        assert f"timm cannot load {tmp_path / 'w.pth'}: " in err
        assert "`r2n convert` writes a folder that it reads" in err
