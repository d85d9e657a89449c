from __future__ import annotations

import argparse
import socket
import time
from pathlib import Path

import pytest
import torch

from r2n_kernels.batch import labels_of
from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.file import packed_text, write
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.cli.load import model_from, precision_from
from r2n_kernels.errors import BundleError, ConfigError, HubError, UnknownModelError, WeightsError
from r2n_kernels.weights.files import sha256_of


def arguments(model="res2net50d", weights=None, **changes):
    values = {"dtype": None, "device": "cpu", "backend": "auto", "sha256": None, **changes}
    return argparse.Namespace(model=model, weights=weights, **values)


def test_folder(tiny):
    model = model_from(arguments(f"local-dir:{tiny}", dtype="bfloat16"))
    assert (model.num_classes, model.dtype) == (5, torch.bfloat16)


def test_weights_of_a_named_model(tiny):
    model = model_from(arguments("res2net50_26w_4s", str(tiny / "model.safetensors")))
    assert model.pretrained_cfg["tag"] == "tiny"


def test_digits_by_their_short_name():
    model = model_from(arguments("digits"))
    assert (model.config.in_chans, model.num_classes) == (1, 10)
    assert model_from(arguments(f"local-dir:{DIGITS}")).config == model.config


def test_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownModelError, match=r"unknown model 'res2net51'; nearest: res2n"):
        model_from(arguments("res2net51"))


def test_path_in_place_of_a_name(tiny):
    with pytest.raises(ConfigError, match=rf"for a folder write --model local-dir:{tiny}"):
        model_from(arguments(str(tiny)))


def test_weights_of_another_architecture(tiny):
    with pytest.raises(ConfigError, match=r"holds a 'res2net50_26w_4s', expected a 'res2net50d'"):
        model_from(arguments("res2net50d", str(tiny)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"", "is empty"), (b"junk" * 20, "damaged or not a safetensors")],
)
def test_weights_missing_or_damaged(tmp_path, content, reason):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        model_from(arguments(weights=str(path)))


@pytest.mark.parametrize("offline", [True, False], ids=["offline mode", "no answer"])
def test_hub_out_of_reach(tmp_path, monkeypatch, offline):
    pytest.importorskip("huggingface_hub")
    with socket.socket() as unused:  # a port where nobody listens
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
    start = time.monotonic()
    with pytest.raises(
        HubError, match=r"by hand from .*pass its path \(--weights PATH\)$"
    ) as error:
        model_from(arguments())
    assert time.monotonic() - start < 10
    assert "\n" not in str(error.value)


class TestBundle:
    def test_its_own_dtype(self, bundle):
        model = model_from(arguments(bundle, backend="ptx:sm_80"), num_classes=0)
        assert (model.dtype, model.num_classes) == (torch.float16, 5)  # which nobody need run
        assert labels_of(model) == ("ant", "bee", "cat", "dog", "eel")

    @pytest.mark.parametrize(
        ("changes", "error", "reason"),
        [
            ({"dtype": "float32"}, ConfigError, r"is in torch.float16, asked was torch.float32"),
            (
                {"dtype": "float16", "backend": "auto"},
                BundleError,
                r"got device cpu \(on the CPU b",
            ),
            ({"backend": "torch"}, ConfigError, r"packed for kernels: backend must be one of auto"),
            ({"backend": "ptx:sm_90"}, BundleError, r"has no code for sm_90; it has batch 2"),
            ({"device": "gpu"}, ConfigError, r"--device: expected cpu, cuda or cuda:N"),
            ({"sha256": "0" * 64}, BundleError, r"has the SHA-256 \w{64}, expected 0{64}"),
            ({"weights": "w.pth"}, ConfigError, r"has weights of its own"),
        ],
        ids=str,
    )
    def test_refused(self, bundle, changes, error, reason):
        with pytest.raises(error, match=reason):
            model_from(arguments(bundle, **{"backend": "ptx:sm_80", **changes}))

    def test_pinned(self, bundle):
        pin = sha256_of(Path(bundle)).upper()
        assert model_from(arguments(bundle, backend="ptx:sm_80", sha256=pin)).num_classes == 5

    def test_classes_are_in_the_bundle(self, bundle):
        with pytest.raises(ConfigError, match=r"num_classes of .*tiny.r2n is in the bundle"):
            model_from(arguments(bundle, backend="ptx:sm_80"), num_classes=7)

    def test_what_is_for_bundles_alone(self, tiny):
        with pytest.raises(ConfigError, match=r"--backend bundle is for a bundle, as in --model"):
            model_from(arguments(f"local-dir:{tiny}", backend="bundle"))
        with pytest.raises(ConfigError, match=r"sha256 is for a bundle, 'local-dir:.*' is none"):
            model_from(arguments(f"local-dir:{tiny}", sha256="0" * 64))

    def test_without_weights_they_are_found_or_passed(self, bundle, tiny, tmp_path):
        named, nameless = (
            weightless(bundle, tmp_path / f"{number}.r2n", name)
            for number, name in enumerate([f"local-dir:{tiny}", "digits"])
        )
        found = [
            model_from(arguments(path, weights, backend="ptx:sm_80"))._fc.weight
            for path, weights in ((bundle, None), (named, None), (nameless, str(tiny)))
        ]
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
        with pytest.raises(BundleError, match=r"none by its name, 'digits': pass a checkpoint"):
            model_from(arguments(nameless, backend="ptx:sm_80"))

    def test_labels_that_do_not_fit(self, bundle, tmp_path):
        path = str(tmp_path / "b.r2n")
        file = open_bundle(bundle).file
        kept = {name: file.tensor(name) for name in file.names}
        write(path, file.manifest, {**kept, "labels": packed_text('["ant"]')})
        model = model_from(arguments(path, backend="ptx:sm_80"))
        with pytest.raises(BundleError, match="has 1 labels for 5 classes"):
            labels_of(model)


def weightless(bundle, path, name):
    """The bundle as --no-weights makes it."""
    file = open_bundle(bundle).file
    kept = {part: file.tensor(part) for part in file.names if not part.startswith("weights/")}
    write(path, {**file.manifest, "weights": None, "name": name}, kept)
    return str(path)


def test_precision():
    assert precision_from(None, "cpu") == (torch.float32, torch.device("cpu"))
    assert precision_from("float32", "cpu") == (torch.float32, torch.device("cpu"))
    assert precision_from("bfloat16", "cpu") == (torch.bfloat16, torch.device("cpu"))


def test_half_precision_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"float16 needs a GPU; on the CPU use .* bfloat16"):
        precision_from("float16", "cpu")
    interpreted = precision_from("float16", "cpu", "triton")
    assert interpreted == (torch.float16, torch.device("cpu"))


@pytest.mark.parametrize("text", ["foo", "meta", "", "cuda:x", "cuda:-1"])
def test_device_that_is_none(text):
    with pytest.raises(ConfigError, match=r"--device: expected cpu, cuda or cuda:N, got"):
        precision_from("float32", text)


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ("cuda", 0, "--device cuda: torch finds no CUDA GPU"),
        ("cuda:3", 0, "--device cuda:3: torch finds no CUDA GPU"),
        ("cuda:2", 2, "--device cuda:2: torch finds 2 CUDA GPU"),
    ],
)
def test_gpu_that_is_not_there(monkeypatch, text, count, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError, match=reason):
        precision_from("float32", text)


def test_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = precision_from("float16", "cuda:1")
    assert found == (torch.float16, torch.device("cuda:1"))
