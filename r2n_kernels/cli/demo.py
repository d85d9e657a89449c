"""r2n demo: the whole job on real input, offline."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..benchmarks.eager import compare
from ..benchmarks.machine import describe_machine
from ..config import HEADLINE
from ..data import ImageBatches, create_transform, labels_for, resolve_model_data_config
from ..factory import create_model, from_timm
from ..model import Res2NetModel
from ..parity import check_parity, eager_model
from .parity import show

HELP = "classify real handwritten digits, then check and time the headline model; offline"
EXAMPLES = """examples:
  r2n demo

exit codes: 0 parity holds; 1 it does not
"""

DIGITS = Path(__file__).parents[1] / "assets" / "digits"
BATCH, ROUNDS = 4, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    digits()
    passed = headline()
    print(f"\ndone in {time.perf_counter() - start:.0f} s")
    return 0 if passed else 1


def digits() -> None:
    print("1. A Res2Net trained on handwritten digits (UCI), on images it has never seen")
    model = create_model(f"local-dir:{DIGITS}", pretrained=True)
    labels = labels_for(model.pretrained_cfg, model.num_classes)
    transform = create_transform(**resolve_model_data_config(model))
    paths = sorted((DIGITS / "images").glob("*.png"))
    print(f"{'file':16} {'predicted':>9} {'probability':>12}")
    for batch in ImageBatches(paths, transform, batch_size=len(paths)):
        with torch.no_grad():
            best = model(batch.images).softmax(dim=1).max(dim=1)
        for item, probability, index in zip(batch.items, *best, strict=True):
            print(f"{item.path.name:16} {labels[index]:>9} {probability:12.1%}")
    correct, total = held_out_accuracy(model)
    print(f"held-out quarter of the set: {correct}/{total} right ({correct / total:.1%})")


def held_out_accuracy(model: Res2NetModel) -> tuple[int, int]:
    """Right answers and images of the quarter of the data set that training did not see."""
    transform = create_transform(**resolve_model_data_config(model))
    with np.load(DIGITS / "heldout.npz") as data:
        images, truth = data["images"], torch.from_numpy(data["labels"].astype(np.int64))
    x = torch.stack([transform(Image.fromarray(image)) for image in images])
    with torch.no_grad():
        predicted = model(x).argmax(dim=1)
    return int((predicted == truth).sum()), len(truth)


def headline() -> bool:
    print(f"\n2. {HEADLINE}, seeded random weights, against the plain PyTorch reference")
    eager = eager_model(HEADLINE, "reference")
    x = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    rows = check_parity(eager, x[:1], torch.float32, backend="auto", device="cpu")
    show(rows, "reference")

    ours = from_timm(eager)
    plan = ours.plan(1, 224, 224)
    print(f"\n3. Cost and throughput at 224x224 ({describe_machine()})")
    print(f"parameters   {ours.config.parameters / 1e6:7.2f} M       model card: 45.2 M")
    print(f"MACs         {plan.macs / 1e9:7.3f} G       model card:  8.1 G")
    print(f"activations  {plan.activations / 1e6:7.2f} M       model card: 18.4 M")
    print(f"batch {BATCH}, float32, {ROUNDS} rounds in turn, medians:")
    result = compare(eager, ours, x, peer="reference", rounds=ROUNDS)
    print("\n".join(result.lines()))
    return all(row.verdict.passed for row in rows)
