from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import timm
import torch
from timm.data import ImageDataset
from timm.utils import accuracy

import r2n_kernels
from r2n_kernels.cli import main

IMAGES = Path(r2n_kernels.__file__).parent / "assets" / "digits" / "images"
DIGITS = ["--model", "digits"]


def write_tar(path: Path, samples: list[tuple[bytes, bytes]]) -> None:
    """Write PNGs and their labels as webdataset does."""
    with tarfile.open(path, "w") as tar:
        for index, sample in enumerate(samples):
            for suffix, data in zip(("png", "cls"), sample, strict=True):
                member = tarfile.TarInfo(f"{index:03}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def label_of(path: Path) -> int:
    return int(path.name.split("_")[1])


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A folder for each digit, with two images."""
    root = tmp_path_factory.mktemp("digits")
    for path in IMAGES.iterdir():
        (root / str(label_of(path))).mkdir(exist_ok=True)
        shutil.copy(path, root / str(label_of(path)))
    return root


@pytest.fixture
def pictures(tmp_path, photo) -> Path:
    """Crops of a photograph, in folders of the tiny model's classes."""
    for index, name in enumerate(["ant", "bee", "cat", "dog", "eel"] * 2):
        folder = tmp_path / "val" / name
        folder.mkdir(parents=True, exist_ok=True)
        photo.crop((40 * index, 20 * index, 40 * index + 200, 20 * index + 170)).save(
            folder / f"{index}.png"
        )
    return tmp_path / "val"


@pytest.fixture
def validate(tmp_path, capsys):
    """`validate(*arguments)`: the exit code, the report, and standard error."""

    def run(*arguments: str) -> tuple[int, dict, str]:
        file = tmp_path / "report.json"
        file.unlink(missing_ok=True)
        code = main(["validate", *map(str, arguments), "--json", str(file)])
        return code, json.loads(file.read_text()) if file.exists() else {}, capsys.readouterr().err

    return run


def test_folder_tar_and_table_agree(digits, validate, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = sorted(IMAGES.iterdir())
    labels = [label_of(path) for path in images]
    content = [path.read_bytes() for path in images]
    parquet.write_table(pa.table({"image": content, "label": labels}), tmp_path / "d.parquet")
    labelled = zip(content, labels, strict=True)
    write_tar(tmp_path / "d.tar", [(image, str(label).encode()) for image, label in labelled])
    for source in (digits, tmp_path / "d.parquet", tmp_path / "d.tar"):
        code, report, _ = validate(source, *DIGITS, "--min-top1", "1")
        assert (code, report["passed"], report["labelled"]) == (0, True, 20)
        interval = pytest.approx([0.8389, 1], abs=1e-4)
        assert report["top1"] == {"count": 20, "total": 20, "share": 1.0, "interval": interval}


def test_permuted_class_map(digits, validate, tmp_path):
    (tmp_path / "map.txt").write_text("\n".join("1023456789"))
    arguments = ["--class-map", tmp_path / "map.txt", "--min-top1", "0.9"]
    code, report, _ = validate(digits, *DIGITS, *arguments)
    assert (code, report["top1"]["count"]) == (1, 16)
    assert report["objections"] == ["top-1 80.00% is below 90.00%"]
    assert report["labels_by"] == f"class map {tmp_path / 'map.txt'}"


def test_wrong_labels(digits, validate, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(digits / "3", wrong / "3")
    shutil.copytree(digits / "4", wrong / "four")
    code, _, err = validate(wrong, *DIGITS)
    assert code == 2
    assert "no class of the model's label names: four; --class-map says which" in err
    code, _, err = validate(digits / "3", *DIGITS)
    assert code == 2
    assert "no image has a label: it is the name of the subfolder" in err


def test_counted_apart(digits, validate, tmp_path):
    """What fails, has no class or no label is in no count, and each has its own number."""
    root = tmp_path / "in"
    shutil.copytree(digits, root)
    (root / "9" / "bad.png").write_bytes(b"text")
    shutil.copy(IMAGES / "digit_0_1.png", root / "bare.png")
    output = tmp_path / "rows.jsonl"
    code, report, err = validate(root, *DIGITS, "--output", output)
    assert code == 0
    assert [report[name] for name in ("labelled", "failed", "unlabelled", "mislabelled")] == [
        20, 1, 1, 0,
    ]  # fmt: skip
    assert "22 images: 21 ok, 1 failed" in err
    assert validate(root, *DIGITS, "--strict")[0] == 1
    rows = {Path(row["path"]).name: row for row in map(json.loads, output.read_text().splitlines())}
    assert (rows["bad.png"]["target"], rows["bad.png"]["correct"]) == (9, None)
    assert (rows["bare.png"]["label"], rows["bare.png"]["status"]) == (None, "ok")


def test_a_label_of_a_tar_that_is_no_class(validate, tmp_path):
    one = (IMAGES / "digit_1_1.png").read_bytes()
    write_tar(tmp_path / "d.tar", [(one, b"10"), (one, b"1")])
    output = tmp_path / "rows.csv"
    code, report, _ = validate(tmp_path / "d.tar", *DIGITS, "--output", output)
    assert (code, report["mislabelled"], report["labelled"], report["failed"]) == (0, 1, 1, 0)
    assert "label 10 is no class: they are 0 to 9" in output.read_text()


def test_as_timm_counts(tiny, model, pictures, validate):
    """The counts and the agreement, beside code as in timm's validate.py."""
    theirs = timm.create_model(f"local-dir:{tiny}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    loader = torch.utils.data.DataLoader(ImageDataset(str(pictures), transform=transform), 10)
    ((x, target),) = loader
    with torch.no_grad():
        top1, top5 = accuracy(theirs(x), target, topk=(1, 5))
    code, report, _ = validate(pictures, *model, "--against", "timm")
    assert code == 0
    found = [100 * report[name]["share"] for name in ("top1", "timm_top1", "top5")]
    assert found == pytest.approx([top1.item(), top1.item(), top5.item()])
    agreement = report["agreement"]
    assert (agreement["images"], agreement["same_top1"], agreement["differing"]) == (10, 10, [])
    assert 0 < agreement["our_error"] < agreement["limit"] == 1e-5


def test_another_network_is_told(tiny, model, pictures, validate, monkeypatch):
    """Weights that differ by 1 % in the classifier are beyond the rule."""

    def other(*_):
        network = timm.create_model(f"local-dir:{tiny}", pretrained=True).eval()
        network.fc.weight.data[0] *= 1.01
        return network

    monkeypatch.setattr("r2n_kernels.cli.judge.timm_network", other)
    code, report, _ = validate(pictures, *model, "--against", "timm")
    assert code == 1
    assert report["objections"][0].startswith("logits differ by ")
    assert len(report["agreement"]["beyond_limit"]) == 5


def test_resumed_is_the_same_report(pictures, model, validate, tmp_path, monkeypatch):
    from r2n_kernels.cli.judge import Judge

    arguments = [pictures, *model, "--against", "timm", "--batch-size", "2"]
    whole = validate(*arguments, "--output", tmp_path / "whole.jsonl")
    block, calls = Judge.block, []

    def stopping(self, *given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return block(self, *given)

    output = ["--output", tmp_path / "rows.jsonl"]
    monkeypatch.setattr(Judge, "block", stopping)
    code, _, err = validate(*arguments, *output)
    assert code == 130
    assert "ended early: 4 rows kept" in err
    monkeypatch.setattr(Judge, "block", block)
    code, _, err = validate(*arguments, *output, "--resume", "--topk", "1")
    assert code == 2
    assert "topk" in err
    code, report, err = validate(*arguments, *output, "--resume")
    assert "after 4 rows of an earlier run" in err
    assert (code, report) == whole[:2]
    assert (tmp_path / "rows.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    code, _, err = validate(*arguments, *output, "--resume")
    assert code == 2
    assert "is complete already" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--resume"], "--resume needs --output"),
        (["--output", "x.parquet"], r"must be one of .csv, .jsonl"),
        (["--model", "m.r2n", "--against", "timm"], "m.r2n is a bundle, which timm cannot read"),
    ],
)
def test_refused(digits, validate, arguments, reason):
    code, _, err = validate(digits, *DIGITS, *arguments)
    assert code == 2
    assert reason in err


@pytest.mark.parametrize("text", ["79", "-1", "x", "nan"])
def test_min_top1_is_a_share(capsys, text):
    assert main(["validate", "x", f"--min-top1={text}"]) == 2
    assert "expected a number from 0 to 1" in capsys.readouterr().err
