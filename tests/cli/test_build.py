from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.manifest import Shape
from r2n_kernels.cli import main
from r2n_kernels.cli.build import BATCHES
from r2n_kernels.errors import KernelError
from r2n_kernels.weights.files import sha256_of

NAMES = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture
def asked(monkeypatch):
    """What would be built; nothing is, but for a file of five bytes."""
    found = SimpleNamespace()

    def keep(path, contents, requests, pool, cache, *, candidates, started, done):
        vars(found).update(contents=contents, requests=requests, cache=cache)
        found.candidates = candidates
        Path(path).write_bytes(b"built")
        return SimpleNamespace(codes={1: 2}, targets=tuple({r.target: 0 for r in requests}))

    def prove(args, state):
        found.proven = state
        return found.faults

    found.faults = 0
    monkeypatch.setattr("r2n_kernels.compiled.bundling.build", keep)
    monkeypatch.setattr("r2n_kernels.cli.build.proven", prove)
    return found


@pytest.fixture
def folder(tiny, tmp_path):
    """A model's folder whose config.json can be changed; it has no weights."""

    def make(**changes):
        stated = json.loads((tiny / "config.json").read_text())
        stated["pretrained_cfg"] |= changes.pop("pretrained_cfg", {})
        (tmp_path / "config.json").write_text(json.dumps({**stated, **changes}))
        return f"local-dir:{tmp_path}"

    return make


def test_a_bundle_has_what_was_asked_for(built, tiny):
    bundle = open_bundle(built.path)
    bundle.file.check()
    assert bundle.manifest.name == f"local-dir:{tiny}"
    assert bundle.manifest.dtype == torch.float16
    assert bundle.manifest.shapes == (Shape("sm_80", 2, 64, 64),)  # the model's own size
    assert bundle.manifest.pretrained_cfg["interpolation"] == "bilinear"
    assert bundle.labels() == NAMES
    assert set(bundle.weights()) == set(bundle.manifest.weights)


def test_closing_lines(built):
    line, pin = built.said.splitlines()
    codes = len(open_bundle(built.path).manifest.codes)
    size = f"{Path(built.path).stat().st_size / 1e6:.1f} MB"
    assert re.fullmatch(rf"\S+/tiny.r2n: {size}, {codes} kernels for sm_80; [\d.]+ s", line)
    assert pin == f"SHA-256 {sha256_of(Path(built.path))}"


@pytest.mark.slow
def test_the_same_words_make_the_same_bytes(built, tiny, tmp_path, capsys):
    cache, again, proven = (str(tmp_path / name) for name in ("cache", "a.r2n", "b.r2n"))
    words = ["build", f"local-dir:{tiny}", "--target", "sm_80", "--batch", "2", "--jobs", "2"]
    words += ["--cache", cache]
    assert main([*words, "--no-proof", "-o", again]) == 0
    assert Path(again).read_bytes() == Path(built.path).read_bytes()
    assert open_bundle(again).proof() is None
    assert main([*words, "-o", proven]) == 0
    assert open_bundle(proven).file.content() == open_bundle(again).file.content()
    proof = open_bundle(proven).proof()
    assert proof["passed"]
    assert proof["networks"][0]["against"] == "reference"
    assert "sm_80" in capsys.readouterr().out


class TestAsked:
    def build(self, tmp_path, *words):
        return main(["build", *words, "-o", str(tmp_path / "m.r2n")])

    def test_all_of_the_product(self, asked, tiny, tmp_path):
        words = ["--target", "sm_80", "sm_90", "--batch", "1", "8", "--size", "64", "160x192"]
        words += ["--dtype", "bfloat16", "--schedule", "latency"]
        assert self.build(tmp_path, f"local-dir:{tiny}", *words) == 0
        found = {(r.target, r.batch, r.height, r.width) for r in asked.requests}
        assert len(asked.requests) == len(found) == 8
        assert ("sm_90", 8, 160, 192) in found
        assert asked.contents.pretrained_cfg["input_size"] == (3, 64, 64)
        assert {(r.dtype, r.schedule) for r in asked.requests} == {(torch.bfloat16, "latency")}
        assert {conv.weight.dtype for conv in asked.contents.packed.values()} == {torch.bfloat16}

    def test_it_is_proven_with_the_weights_that_were_packed(self, asked, tiny, tmp_path):
        words = [f"local-dir:{tiny}", "--target", "sm_80"]
        assert self.build(tmp_path, *words, "--no-proof", "--candidates") == 0
        assert not hasattr(asked, "proven")
        assert asked.candidates
        asked.faults = 1
        assert self.build(tmp_path, *words) == 1
        assert "fc.weight" in asked.proven
        assert not asked.candidates

    def test_without_weights_none_are_read(self, asked, folder, tmp_path):
        assert self.build(tmp_path, folder(), "--no-weights", "--target", "sm_90") == 0
        assert asked.contents.packed is None
        assert asked.contents.labels == NAMES
        assert tuple(r.batch for r in asked.requests) == BATCHES
        assert {(r.height, r.width) for r in asked.requests} == {(64, 64)}

    def test_the_headline_is_the_default(self, asked, tmp_path):
        assert self.build(tmp_path, "--no-weights", "--target", "sm_90") == 0
        assert asked.contents.name == "res2net101_26w_4s.in1k"
        assert {(r.height, r.width) for r in asked.requests} == {(224, 224)}
        assert len(asked.contents.labels) == 1000

    def test_images_are_resized_to_the_only_size(self, asked, tiny, tmp_path):
        words = [f"local-dir:{tiny}", "--target", "sm_90", "--size", "96x64"]
        assert self.build(tmp_path, *words) == 0
        assert asked.contents.pretrained_cfg["input_size"] == (3, 96, 64)

    def test_a_missing_fence_is_told(self, asked, tiny, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("triton.__version__", "3.6.0")
        assert self.build(tmp_path, f"local-dir:{tiny}", "--target", "sm_80", "sm_90") == 0
        told = capsys.readouterr().err
        assert told.count("r2n: warning: Triton 3.6.0 leaves out fence.proxy.async") == 1

    def test_digits_by_their_short_name(self, asked, tmp_path):
        assert self.build(tmp_path, "digits", "--target", "sm_90") == 0
        assert asked.contents.name == "digits"  # whose folder is another one elsewhere

    def test_weights_of_a_file(self, asked, tiny, tmp_path):
        weights = ["--weights", str(tiny / "model.safetensors")]
        assert self.build(tmp_path, "res2net50_26w_4s", *weights, "--target", "sm_80") == 0
        assert asked.requests[0].config.num_classes == 5

    def test_embeddings_have_no_labels(self, asked, folder, tmp_path):
        named = folder(num_classes=0, model_args=None, pretrained_cfg={"num_classes": 0})
        assert self.build(tmp_path, named, "--no-weights", "--target", "sm_80") == 0
        assert asked.requests[0].config.num_classes == 0
        assert asked.contents.labels is None

    def test_kernels_are_kept_where_it_is_said(self, asked, folder, tmp_path):
        words = [folder(), "--no-weights", "--target", "sm_80"]
        assert self.build(tmp_path, *words, "--cache", str(tmp_path / "kept")) == 0
        assert asked.cache.folder == tmp_path / "kept"
        assert self.build(tmp_path, *words, "--no-cache") == 0
        assert asked.cache is None

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"global_pool": "catavgmax"}, "a bundle pools by the mean, local-dir:"),
            ({"pretrained_cfg": {"input_size": None}}, "does not state the size of its images"),
        ],
        ids=["pool", "size"],
    )
    def test_networks_that_are_refused(self, asked, capsys, folder, tmp_path, changes, reason):
        assert self.build(tmp_path, folder(**changes), "--no-weights", "--target", "sm_80") == 2
        assert reason in capsys.readouterr().err
        assert not (tmp_path / "m.r2n").exists()


def test_a_kernel_that_does_not_compile_is_named(capsys, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise KernelError("sm_80 conv1 14x14: PTXASError: no")

    monkeypatch.setattr("r2n_kernels.compiled.bundling.build", fail)
    words = ["--no-weights", "--target", "sm_80", "-o", str(tmp_path / "m.r2n")]
    assert main(["build", "digits", *words]) == 2
    assert "r2n: error: sm_80 conv1 14x14: PTXASError: no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-o", "m.r2n"], "the following arguments are required: --target"),
        (["--target", "sm_80"], "the following arguments are required: --output/-o"),
        (["--target", "gfx942", "-o", "m.r2n"], "argument --target: invalid choice: 'gfx942'"),
        (["--target", "sm_80", "-o", "m.pt2"], "--output 'm.pt2': the suffix of a bundle is .r2n"),
        (["--target", "sm_80", "-o", "no/m.r2n"], "'no/m.r2n': there is no such folder"),
        (["m.r2n", "--target", "sm_80", "-o", "n.r2n"], "m.r2n is a bundle already"),
        (["--target", "sm_80", "-o", "m.r2n", "--num-classes", "3"], "--num-classes describes"),
        (["--target", "sm_80", "-o", "m.r2n", "--weights", "w.pth", "--no-weights"],
         "argument --no-weights: not allowed with argument --weights"),
        (["--target", "sm_80", "-o", "m.r2n", "--cache", "c", "--no-cache"], "not both"),
        (["res2net51", "--target", "sm_80", "-o", "m.r2n"], "unknown model 'res2net51'; nearest"),
        (["digits", "--weights", "no.pth", "--target", "sm_80", "-o", "m.r2n"], "no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_usage(capsys, monkeypatch, tmp_path, words, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["build", *words]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_old_triton_is_a_usage_error(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("r2n_kernels.kernels.versions.triton.__version__", "3.2.0")
    assert main(["build", "digits", "--target", "sm_90", "-o", str(tmp_path / "m.r2n")]) == 2
    assert "r2n build needs Triton: the kernels need Triton 3.4" in capsys.readouterr().err
