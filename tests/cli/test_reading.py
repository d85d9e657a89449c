from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.cli.reading import MOST_IN_A_THREAD, WAYS
from r2n_kernels.cli.validate_run import folders_of
from r2n_kernels.cli.written import NAMES as WRITTEN_NAMES
from r2n_kernels.decode import DECODES
from r2n_kernels.results.rows import NAMES
from r2n_kernels.sources import find_inputs


def test_names_that_are_repeated_here():
    assert WAYS == DECODES
    assert WRITTEN_NAMES == NAMES
    assert MOST_IN_A_THREAD == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--image-seconds", "1"], "--image-seconds needs --isolate"),
        (["--image-memory", "99"], "--image-memory needs --isolate"),
        (["--max-pixels", "200000000"], "--max-pixels 200000000: above 178956970 Pillow needs"),
        (["--shard", "4/4"], "a shard is i/n with i from 0 to n - 1, as 0/4, not '4/4'"),
        (["--column", "image"], "column 'image': no input has columns"),
        (["--bom", "--names", "percent"], "--bom, --names: needs --output"),
        (["--output", "x.csv", "--probabilities"], "all probabilities go into .parquet or .npz"),
    ],
)
def test_refused(capsys, more, reason):
    assert main(["classify", str(DIGITS / "images"), "--model", "digits", *more]) == 2
    assert reason in capsys.readouterr().err


def test_what_was_passed_over_is_told(capsys, tmp_path, photo):
    for name in ("a.heic", "b.HEIC", "c"):
        (tmp_path / name).write_bytes(b"x")
    photo.save(tmp_path / "good.png")
    assert main(["classify", str(tmp_path), "--model", "digits"]) == 0
    told = "passed over in folders: 2 .heic, 1 without suffix"
    assert capsys.readouterr().err.splitlines()[0] == told


def test_folders_are_those_of_all_shards(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    inputs = find_inputs([tmp_path], labelled=True)
    one = dataclasses.replace(inputs, first=0, step=3)
    assert one.count == 1
    assert folders_of([str(tmp_path)], one) == folders_of([str(tmp_path)], inputs) == list("abc")
