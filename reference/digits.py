"""Train the small Res2Net that `r2n demo` shows, on scikit-learn's copy of the UCI digits.

    python -m r2n_kernels.reference.digits --output DIR

writes DIR/model.safetensors, DIR/config.json (timm reads both: `local-dir:DIR`), DIR/heldout.npz
and DIR/images/digit_<class>_<n>.png. Needs scikit-learn: `pip install "r2n_kernels[train]"`.

The held-out quarter is seen once, after training: nothing here is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ..config import Res2NetConfig
from .model import Res2Net

# Split widths 5, 9, 13, 19 and stage outputs 52, 92, 132, 188: no multiple of 8 anywhere.
CONFIG = Res2NetConfig((2, 2, 2, 2), planes=(13, 23, 33, 47), in_chans=1, num_classes=10)
SIZE = 32  # pixels, the least that a Res2Net takes
SEED = 0
EPOCHS = 60
BATCH = 64
IMAGES_PER_CLASS = 2


def split(seed: int = SEED) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and held-out images, then their labels in that order; a quarter is held out.

    Images are uint8 [N, 8, 8] in 0..255, labels uint8 [N]. Stratified; fixed by the seed.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    parts = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=seed)
    return tuple(parts)


def to_unit(images: np.ndarray) -> Tensor:
    """Turn uint8 [N, 8, 8] into float32 [N, 1, SIZE, SIZE] in 0..1, as an inference transform does.

    Shortest edge to floor(SIZE / crop_pct) by PIL's bilinear filter; crop_pct 1 leaves no crop.
    """
    resized = [
        Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for image in images
    ]
    return torch.from_numpy(np.stack([np.asarray(image) for image in resized])[:, None]).div(255)


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 12 degrees, zoom by up to 10 % and shift by up to 3 pixels, at random."""
    angle, zoom, *shift = (torch.rand(4, len(x), generator=generator) * 2 - 1).unbind()
    angle, zoom = angle * math.radians(12), 1 + zoom * 0.1
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    dx, dy = (s * 3 * 2 / SIZE for s in shift)  # affine_grid's unit is half an image
    theta = torch.stack([torch.stack([cos, -sin, dx], 1), torch.stack([sin, cos, dy], 1)], 1)
    return F.grid_sample(
        x, F.affine_grid(theta, [*x.shape], align_corners=False), align_corners=False
    )


def train(
    x: Tensor, labels: Tensor, mean: float, std: float, epochs: int = EPOCHS, seed: int = SEED
) -> tuple[Res2Net, list[float]]:
    """Train on x [N, 1, SIZE, SIZE] in 0..1, labels int64 [N], N >= BATCH.

    Returns the model in eval mode and the mean loss of each epoch. The same seed, machine and
    thread count give the same weights; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Res2Net(CONFIG).train()
    generator = torch.Generator().manual_seed(seed)
    steps = len(x) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * steps, pct_start=0.1
    )
    losses = []
    for _ in range(epochs):
        total = 0.0
        # A short last batch is left out: a batch of one has no statistics at 1x1 pixel.
        for index in torch.randperm(len(x), generator=generator)[: steps * BATCH].split(BATCH):
            inputs = (augment(x[index], generator) - mean) / std
            loss = F.cross_entropy(model(inputs), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        losses.append(total / steps)
    return model.eval(), losses


@torch.inference_mode()
def count_correct(model: Res2Net, x: Tensor, labels: Tensor) -> int:
    """Count how many of the normalised x [N, 1, SIZE, SIZE] get their label."""
    return int((model(x).argmax(1) == labels).sum())


def describe(mean: float, std: float) -> dict:
    """Return config.json in timm's format for a local directory."""
    return {
        "architecture": "res2net50_26w_4s",  # model_args turn it into CONFIG
        "num_classes": CONFIG.num_classes,
        "num_features": CONFIG.num_features,
        "model_args": {
            "layers": list(CONFIG.layers),
            "channels": list(CONFIG.planes),
            "in_chans": CONFIG.in_chans,
            "num_classes": CONFIG.num_classes,
        },
        "pretrained_cfg": {
            "tag": "digits",
            "num_classes": CONFIG.num_classes,
            "input_size": [CONFIG.in_chans, SIZE, SIZE],
            "pool_size": [1, 1],
            "crop_pct": 1.0,
            "crop_mode": "center",
            "interpolation": "bilinear",
            "mean": [mean],
            "std": [std],
            "first_conv": "conv1",
            "classifier": "fc",
            "label_names": [str(digit) for digit in range(10)],
            "license": "apache-2.0",
        },
    }


def export(
    folder: Path, model: Res2Net, config: dict, images: np.ndarray, labels: np.ndarray, correct: int
) -> None:
    """Write the checkpoint, its config, the held-out set and the first PNGs of each class."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": "pt",
        "made_by": "python -m r2n_kernels.reference.digits",
        "torch": torch.__version__,
        "seed": str(SEED),
        "data": "UCI Optical Recognition of Handwritten Digits, scikit-learn's copy, CC BY 4.0",
        "held_out_correct": f"{correct}/{len(labels)}",
    }
    save_file(model.state_dict(), folder / "model.safetensors", metadata)
    text = json.dumps(config, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    np.savez_compressed(folder / "heldout.npz", images=images, labels=labels)
    for digit in range(10):
        for n, image in enumerate(images[labels == digit][:IMAGES_PER_CLASS], start=1):
            Image.fromarray(image).save(folder / "images" / f"digit_{digit}_{n}.png")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2, help="part of what fixes the weights")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)

    train_images, images, train_labels, labels = split()
    x = to_unit(train_images)
    mean, std = round(x.mean().item(), 4), round(x.std().item(), 4)
    start = time.perf_counter()
    model, losses = train(x, torch.from_numpy(train_labels).long(), mean, std, args.epochs)
    seconds = time.perf_counter() - start
    held_out = (to_unit(images) - mean) / std
    correct = count_correct(model, held_out, torch.from_numpy(labels).long())
    export(args.output, model, describe(mean, std), images, labels, correct)
    print(
        f"trained {args.epochs} epochs in {seconds:.0f} s, last loss {losses[-1]:.4f}; "
        f"held-out accuracy {correct}/{len(labels)} = {correct / len(labels):.2%}"
    )


if __name__ == "__main__":
    main()
