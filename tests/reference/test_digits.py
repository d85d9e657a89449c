"""The bundled digits: what is in the folder, how accurate it is, and that the script makes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config

import r2n_kernels
from r2n_kernels.reference import Bottle2neck, Res2Net, digits

ASSETS = Path(r2n_kernels.__file__).parent / "assets" / "digits"
LEAST_ACCURACY = 0.97
MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def config() -> dict:
    return json.loads((ASSETS / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    with np.load(ASSETS / "heldout.npz", allow_pickle=False) as archive:
        return archive["images"], archive["labels"]


@pytest.fixture(scope="module")
def inputs(config, held_out) -> torch.Tensor:
    """The held-out images as the model takes them: float32 [450, 1, 32, 32]."""
    cfg = config["pretrained_cfg"]
    return (digits.to_unit(held_out[0]) - cfg["mean"][0]) / cfg["std"][0]


@pytest.fixture(scope="module")
def model() -> Res2Net:
    model = Res2Net(digits.CONFIG).eval()
    model.load_state_dict(load_file(ASSETS / "model.safetensors"), strict=True)
    return model


@pytest.fixture(scope="module")
def parts() -> tuple[np.ndarray, ...]:
    """The split, made again."""
    return digits.split()


def test_accuracy_on_the_held_out_quarter(model, inputs, held_out):
    labels = torch.from_numpy(held_out[1]).long()
    correct = digits.count_correct(model, inputs, labels)
    assert correct / len(labels) >= LEAST_ACCURACY
    with safe_open(ASSETS / "model.safetensors", "pt") as file:
        recorded = file.metadata()["held_out_correct"]
    assert f"{correct}/{len(labels)}" == recorded


def test_checkpoint(model):
    path = ASSETS / "model.safetensors"
    assert path.stat().st_size < MOST_BYTES
    tensors = load_file(path)
    floats = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    assert all(v.dtype == torch.float32 and v.isfinite().all() for v in floats.values())
    assert len(tensors) - len(floats) == len([k for k in tensors if k.endswith("running_var")])
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["made_by"] == "python -m r2n_kernels.reference.digits"
    assert "CC BY 4.0" in metadata["data"]


def test_hierarchical_adds_and_odd_widths_are_exercised(model):
    blocks = [module for module in model.modules() if isinstance(module, Bottle2neck)]
    assert {block.width for block in blocks if not block.is_first} == {5, 9, 13, 19}
    assert all(len(block.convs) == 3 for block in blocks)


def test_held_out_is_what_the_split_says(held_out, parts):
    images, labels = held_out
    assert images.dtype == labels.dtype == np.uint8
    assert images.shape == (450, 8, 8)
    np.testing.assert_array_equal(images, parts[1])
    np.testing.assert_array_equal(labels, parts[3])


def test_held_out_images_are_not_trained_on(held_out, parts):
    images, labels = held_out
    trained = {image.tobytes() for image in parts[0]}
    assert len(parts[0]) == 1347
    assert trained.isdisjoint(image.tobytes() for image in images)
    # Stratified: a quarter of each class, to one image.
    every = np.bincount(np.concatenate([labels, parts[2]]))
    assert np.abs(np.bincount(labels) - every / 4).max() <= 1


def test_pngs_are_the_first_of_each_class(held_out):
    images, labels = held_out
    files = sorted((ASSETS / "images").iterdir())
    assert [f.name for f in files] == [f"digit_{d}_{n}.png" for d in range(10) for n in (1, 2)]
    for path in files:
        _, digit, n = path.stem.split("_")
        with Image.open(path) as image:
            assert (image.mode, image.size, image.format) == ("L", (8, 8), "PNG")
            expected = images[labels == int(digit)][int(n) - 1]
            np.testing.assert_array_equal(np.asarray(image), expected)


def test_config_is_what_the_script_writes(config, parts):
    x = digits.to_unit(parts[0])
    assert config == digits.describe(round(x.mean().item(), 4), round(x.std().item(), 4))


@torch.inference_mode()
def test_timm_loads_the_folder(model, inputs, config, rel_error):
    theirs = timm.create_model(f"local-dir:{ASSETS}", pretrained=True).eval()
    assert list(theirs.state_dict()) == list(model.state_dict())
    assert theirs.num_features == config["num_features"]
    assert rel_error(model(inputs), theirs(inputs)) <= 1e-5


def test_timms_transform_gives_the_same_input(inputs):
    theirs = timm.create_model(f"local-dir:{ASSETS}")
    transform = create_transform(**resolve_model_data_config(theirs), is_training=False)
    with np.load(ASSETS / "heldout.npz") as archive:
        images = archive["images"][:10]
    expected = torch.stack([transform(Image.fromarray(image)) for image in images])
    assert torch.equal(inputs[:10], expected)


def test_notice_names_source_and_licence():
    notice = (ASSETS / "NOTICE.txt").read_text(encoding="utf-8")
    for words in ("Optical Recognition of Handwritten Digits", "E. Alpaydin", "CC BY 4.0"):
        assert words in notice


@pytest.mark.slow
def test_training_lowers_the_loss_and_repeats(parts):
    x, labels = digits.to_unit(parts[0][:192]), torch.from_numpy(parts[2][:192]).long()
    state = torch.random.get_rng_state()
    runs = [digits.train(x, labels, 0.3, 0.4, epochs=3) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    (first, losses), (second, again) = runs
    assert losses[-1] < losses[0]
    assert losses == again
    assert not first.training
    others = second.state_dict()
    assert all(torch.equal(value, others[name]) for name, value in first.state_dict().items())
    other, _ = digits.train(x, labels, 0.3, 0.4, epochs=3, seed=1)
    assert not torch.equal(other.fc.weight, first.fc.weight)


def test_augment_keeps_shape_and_range():
    x = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    out = digits.augment(x, torch.Generator().manual_seed(0))
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(out, x)
    assert torch.equal(out, digits.augment(x, torch.Generator().manual_seed(0)))


@pytest.fixture
def torch_settings():
    """Puts back what the script sets for its own process."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.usefixtures("torch_settings")
def test_script_writes_the_folder(tmp_path, capsys):
    digits.main(["--output", str(tmp_path), "--epochs", "1", "--threads", "1"])
    assert "held-out accuracy" in capsys.readouterr().out
    written = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    bundled = {p.relative_to(ASSETS) for p in ASSETS.rglob("*") if p.is_file()}
    assert bundled - written == {Path("NOTICE.txt")}
    assert written <= bundled
    assert (tmp_path / "config.json").read_bytes() == (ASSETS / "config.json").read_bytes()


def test_script_needs_an_output_folder(capsys):
    with pytest.raises(SystemExit, match="2"):
        digits.main([])
    assert "--output" in capsys.readouterr().err
