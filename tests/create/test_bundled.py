"""Models of bundles by path: backends, weights, and what is refused. No GPU is needed for that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.bundle.file import PROOF, packed_text
from r2n_kernels.create import bundled
from r2n_kernels.engine import TritonOptions, triton_backend
from r2n_kernels.errors import BundleError, ConfigError, NoCodeError, WeightsError
from r2n_kernels.int8 import ActivationScales
from r2n_kernels.weights.files import sha256_of

from ..bundle import handmade
from ..bundle.handmade import BATCH, CONFIG, SIZE
from ..bundle.twins import TwinBackend

GPU = torch.device("cuda", 0)
X = torch.randn(BATCH, 3, *SIZE, generator=torch.Generator().manual_seed(0)).half()


@pytest.fixture
def path(small_bundle):
    return str(small_bundle)


@pytest.fixture
def bare(tmp_path):
    """A bundle without weights."""
    path = tmp_path / "bare.r2n"
    handmade.make(path, weights=False, targets=("sm_90",))
    return str(path)


class Jit(TwinBackend):
    """Triton has code for every shape: here one image's, of a bundle of its own."""

    name = "triton"

    def __init__(self, config, packed, dtype, device, options):
        self.given = config, dtype, device, options
        super().__init__(Jit.bundle, packed)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """gpu(target, triton): a GPU that runs a target's code, or none of a bundle's."""
    other = tmp_path / "jit.r2n"
    handmade.make(other, targets=("sm_90",), batches=(1,))
    monkeypatch.setattr(Jit, "bundle", bundled.open_bundle(other), raising=False)

    def target_of(bundle, device):
        if target_of.name is None:
            raise NoCodeError("no code for this chip")
        return target_of.name

    def make(target, triton):
        target_of.name = target
        kind = ("triton" if triton else "torch", "why")
        monkeypatch.setattr(bundled, "available", lambda device: GPU)
        monkeypatch.setattr(bundled, "choose_backend", lambda device: kind)
        monkeypatch.setattr(bundled, "device_target", target_of)
        monkeypatch.setattr(bundled, "BundleBackend", TwinBackend)
        monkeypatch.setattr(triton_backend, "JitBackend", Jit)

    return make


def names(model, *batches):
    """Backends that a model made for these batches."""
    for batch in batches:
        model.plan(batch, *SIZE)
    return [backend.name for backend in model._backends]


def test_auto_takes_the_bundles_code_and_then_triton(gpu, path):
    gpu("sm_80", triton=True)
    options = TritonOptions(graphs=(1,))
    model = create_model(path, triton=options)
    assert names(model, BATCH) == ["twins"]
    assert model._backends[0].target == "sm_80"
    assert model._backends[0].graphs == (1,)
    assert names(model, 1) == ["twins", "triton"]
    assert model._backends[1].given == (CONFIG, torch.float16, GPU, options)


def test_auto_without_code_for_the_chip(gpu, path):
    gpu(None, triton=True)
    assert names(create_model(path), 1) == ["triton"]


def test_auto_without_triton(gpu, path):
    gpu("sm_90", triton=False)
    with pytest.raises(BundleError, match="has no code for 1 images"):
        create_model(path).plan(1, *SIZE)
    gpu(None, triton=False)
    with pytest.raises(BundleError, match="no code for this chip"):
        create_model(path)


def test_a_bundle_never_compiles_and_triton_always(gpu, path):
    gpu("sm_90", triton=True)
    with pytest.raises(BundleError, match="has no code for 1 images"):
        create_model(path, backend="bundle").plan(1, *SIZE)
    assert names(create_model(path, backend="triton"), 1) == ["triton"]
    gpu(None, triton=True)
    with pytest.raises(BundleError, match="no code for this chip"):
        create_model(path, backend="bundle")


def test_weights_are_the_bundles(gpu, path):
    gpu("sm_90", triton=False)
    with torch.no_grad():
        expected = handmade.network()(X.float())
    torch.testing.assert_close(create_model(path)(X).float(), expected, rtol=0.02, atol=0.02)


def test_weights_of_a_checkpoint(gpu, bare, path, tmp_path):
    gpu("sm_90", triton=False)
    torch.save(handmade.network().state_dict(), tmp_path / "network.pt")
    model = create_model(bare, checkpoint=tmp_path / "network.pt")
    assert torch.equal(model(X), create_model(path)(X))
    with pytest.raises(ConfigError, match="has weights of its own; a checkpoint is for"):
        create_model(path, checkpoint=tmp_path / "network.pt")
    with pytest.raises(WeightsError):
        create_model(bare, checkpoint=tmp_path / "none.pt")


def test_a_checkpoint_brings_its_preprocessing_and_labels(gpu, bare, tmp_path, monkeypatch):
    gpu("sm_90", triton=False)
    names = [f"bird {i}" for i in range(7)]
    theirs = {"mean": [0.5] * 3, "std": [0.25] * 3, "num_classes": 7, "label_names": names}
    stated = {"architecture": "res2net50_26w_4s", "num_classes": 7, "pretrained_cfg": theirs}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    torch.save(handmade.network().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="holds a 'res2net50_26w_4s' of another shape than"):
        create_model(bare, checkpoint=tmp_path)
    found = bundled.config_from_timm(stated)
    monkeypatch.setattr(bundled, "config_from_timm", lambda _: (CONFIG, *found[1:]))
    model = create_model(bare, checkpoint=tmp_path)
    assert model.labels() == tuple(names)
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)


def test_triton_without_triton(gpu, path, monkeypatch):
    gpu("sm_90", triton=False)
    monkeypatch.setitem(sys.modules, "r2n_kernels.engine.triton_backend", None)
    with pytest.raises(ConfigError, match="backend 'triton' needs Triton"):
        create_model(path, backend="triton")


def test_a_failed_proof_is_told(gpu, path, tmp_path, caplog):
    gpu("sm_90", triton=False)
    failed = tmp_path / "failed.r2n"
    failed.write_bytes(Path(path).read_bytes())
    file = bundled.open_bundle(failed).file
    report = json.dumps({"content": file.content(), "passed": False})
    file.rewritten({PROOF: packed_text(report)})
    create_model(str(failed))
    assert "its proof found faults; `r2n inspect` shows them" in caplog.text


def test_random_weights_are_of_torchs_generator(gpu, bare):
    gpu("sm_90", triton=False)
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(create_model(bare)(X))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"backend": "torch"}, ConfigError, "packed for kernels: backend must be one of auto, bun"),
        ({"backend": "bundle", "triton": TritonOptions()}, ConfigError, "options of the triton"),
        ({"backend": "ptx:sm_90", "triton": TritonOptions()}, ConfigError, "options of the triton"),
        ({"backend": "ptx:sm_120"}, BundleError, "has no code for sm_120; it has batch 2 of 33x40"),
        (
            {"backend": "triton", "triton": TritonOptions(int8=ActivationScales(1.0, (), ""))},
            ConfigError,
            "a bundle's weights are float: int8 needs",
        ),
        ({"dtype": torch.float32}, ConfigError, r"is in torch\.float16, asked was torch\.float32"),
        ({"num_classes": 3}, ConfigError, r"num_classes of .*small\.r2n is in the bundle"),
        ({"in_chans": 3}, ConfigError, "in_chans of "),
        ({"global_pool": "avg"}, ConfigError, "global_pool of "),
        ({"pretrained_cfg": {}}, ConfigError, "pretrained_cfg of "),
        ({"sha256": "0" * 64}, BundleError, "has the SHA-256 [0-9a-f]{64}, expected 0000"),
        ({}, BundleError, "has code for NVIDIA GPUs, .*; got device cpu .on the CPU backend='ptx:"),
        ({"backend": "bundle"}, BundleError, "got device cpu"),
        ({"device": "meta"}, BundleError, "got device meta"),
        ({"device": "meta", "backend": "ptx:sm_90"}, ConfigError, "emulates a GPU on the CPU, got"),
        ({"drop_path": None, "act_layer": 3}, ConfigError, "act_layer"),
    ],
)
def test_refusals(options, error, match, path):
    with pytest.raises(error, match=match):
        create_model(path, **options)


def test_a_pinned_bundle(path):
    model = create_model(
        path, sha256=sha256_of(Path(path)), backend="ptx:sm_90", dtype=torch.float16
    )
    assert model.pretrained_cfg["num_classes"] == 7


def test_sha256_is_for_bundles():
    with pytest.raises(ConfigError, match="sha256 is for a bundle, 'res2net50_26w_4s' is none"):
        create_model("res2net50_26w_4s", sha256="0" * 64)


def test_no_such_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"none\.r2n: no such file"):
        create_model(str(tmp_path / "none.r2n"))
