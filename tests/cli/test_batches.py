"""Images in the batches that a bundle has code for, whichever they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.batch import Feeding, Run
from r2n_kernels.batch.parts import batches_of
from r2n_kernels.bundle.ops import Kernel
from r2n_kernels.bundle.source import TargetPlans
from r2n_kernels.cli import main
from r2n_kernels.data import create_transform, read_image, resolve_model_data_config
from r2n_kernels.errors import BundleError
from r2n_kernels.model.bundled import BundledModel

PTX = ("--backend", "ptx:sm_80")
NAMES = ["ant", "bee", "cat", "dog", "eel"]


class Twin:
    """Stands for the emulator: a bundle's backend that computes with PyTorch, in float32."""

    name = "twin"

    def __init__(self, bundle, packed, device, name):
        self.dtype, self.device, self.ran = bundle.manifest.dtype, device, []
        self._plans = TargetPlans(bundle, bundle.named_target(name.partition(":")[2]), Kernel)
        self.model = create_model(bundle.manifest.name, pretrained=True)

    def plan(self, batch, height, width):
        return self._plans.plan(batch, height, width)

    def prepare(self, plan, x, normalization=None):
        self.ran.append(len(x))

    def run(self, plan, x, wanted, normalization=None):
        assert len(x) == plan.batch
        *maps, embedding, logits = self.model.outputs(x.float(), range(5), ("embedding", "logits"))
        found = dict(zip(plan.features, maps, strict=True))
        found |= {"embedding": embedding, "logits": logits}
        return [found[name].to(self.dtype) for name in wanted]


@pytest.fixture
def twin(monkeypatch):
    monkeypatch.setattr("r2n_kernels.create.bundled.backend_class", lambda place: Twin)


@pytest.fixture
def network(tiny):
    """What the tiny model itself says of images, and its transform."""
    model = create_model(f"local-dir:{tiny}", pretrained=True)
    return model, create_transform(**resolve_model_data_config(model))


def test_what_a_model_takes(bundle, tiny, twin):
    model = create_model(bundle, backend="ptx:sm_80")
    assert batches_of(model, 8, 64, 64) == model.batches(64, 64) == (2,)
    with pytest.raises(BundleError, match="no code for 8 images of 32x64 on sm_80; it has batch"):
        batches_of(model, 8, 32, 64)
    assert batches_of(create_model(f"local-dir:{tiny}"), 8, 32, 64) == ()


def test_triton_takes_any(bundle, monkeypatch):
    """Where no code of the bundle runs, Triton's plans do."""
    model = create_model(bundle, backend="triton")
    assert model.batches(64, 64) == ()
    planned = []
    monkeypatch.setattr(BundledModel, "plan", lambda self, *shape: planned.append(shape))
    assert batches_of(model, 3, 64, 64) == ()
    assert planned == [(3, 64, 64)]


@pytest.mark.parametrize(
    ("given", "read", "ran"), [(None, 2, [2, 2, 2]), (1, 1, [2] * 5), (3, 3, [2, 2, 2])]
)
def test_a_run_pads_its_batches(bundle, links, twin, given, read, ran):
    model = create_model(bundle, backend="ptx:sm_80")
    paths = sorted(map(str, links(5).iterdir()))
    run = Run(model, model, given)
    assert run.batch_size == read
    batches = list(run.batches(paths, Feeding(workers=1)))
    assert [item.path for batch, _ in batches for item in batch.items] == paths
    assert {row.shape for _, rows in batches for row in rows} == {(5,)}
    assert model._backends[0].ran == ran


@pytest.mark.slow
def test_classify_in_the_emulator(capsys, bundle, tmp_path, photo, network):
    """The bundle's own code, on three images two at a time, with the bundle's labels."""
    model, transform = network
    for number in range(3):
        photo.rotate(90 * number).save(tmp_path / f"{number}.png")
    output = tmp_path / "out.jsonl"
    words = [*sorted(map(str, tmp_path.glob("*.png"))), "--model", bundle, *PTX]
    assert main(["classify", *words, "--topk", "1", "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    for row in rows:
        expected = model(transform(read_image(row["path"]))[None]).softmax(1)[0]
        (top,) = row["topk"]
        assert top["label"] == NAMES[top["index"]]
        assert top["index"] == int(expected.argmax())
        assert abs(top["probability"] - float(expected.max())) < 5e-3
    assert "3 images: 3 ok, 0 failed, " in capsys.readouterr().err


def test_embed(bundle, hostile, tmp_path, twin, network):
    model, transform = network
    output = str(tmp_path / "out.npz")
    folder = str(tmp_path / "in")
    assert main(["embed", folder, "--model", bundle, *PTX, "--output", output]) == 0
    with np.load(output) as data:
        assert data["paths"].tolist() == list(hostile)
        good = list(hostile).index(str(tmp_path / "in" / "good.jpg"))
        found = torch.from_numpy(data["embeddings"][good])
    x = transform(read_image(str(tmp_path / "in" / "good.jpg")))[None]
    (expected,) = model.outputs(x, (), ("embedding",))
    torch.testing.assert_close(found, expected[0], rtol=2e-2, atol=2e-3)


def test_features(capsys, bundle, photo, tmp_path, twin):
    photo.save(tmp_path / "photo.png")
    assert main(["features", str(tmp_path / "photo.png"), "--model", bundle, *PTX]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split(maxsplit=3)[3] for row in rows][::4] == ["(1, 64, 32, 32)", "(1, 128, 2, 2)"]


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_a_size_without_code_is_refused_before_images_are_read(
    capsys, bundle, tmp_path, twin, monkeypatch, command
):
    monkeypatch.setattr("r2n_kernels.batch.run.resolve_model_data_config", other_size)
    output = str(tmp_path / {"classify": "out.csv", "embed": "out.npz"}[command])
    words = [str(tmp_path / "gone.png"), "--model", bundle, *PTX, "--output", output]
    assert main([command, *words, "--batch-size", "3"]) == 2
    err = capsys.readouterr().err
    assert "has no code for 3 images of 96x96 on sm_80; it has batch 2 of 64x64 on sm_80" in err
    assert not list(tmp_path.iterdir())


def other_size(model, args=None):
    return {**resolve_model_data_config(model), "input_size": (3, 96, 96)}
