"""r2n demo: the whole job on real input, offline."""

from __future__ import annotations

import argparse
import textwrap
import time

import torch

from ..config import CARD, HEADLINE
from ..data import ImageBatches, create_transform, labels_for, resolve_model_data_config
from ..factory import create_model, from_timm
from ..model import Res2NetModel
from ..parity import check_parity, eager_model
from .bundled import DIGITS, expand
from .options import positive
from .parity import show

HELP = "classify handwritten digits, check and time the headline model; offline"
EXAMPLES = """examples:
  r2n demo
  r2n demo --threads 1

Takes less than a minute on two cores. In the other commands the digits model
is `--model digits`.

exit codes: 0 parity holds; 1 it does not; 2 wrong usage; 130 stopped
"""

BATCH, ROUNDS = 4, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=positive,
        default=torch.get_num_threads(),
        metavar="N",
        help="of the CPU (default: torch's choice, %(default)s here)",
    )


def run(args: argparse.Namespace) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    try:
        digits()
        passed = headline()
    finally:
        torch.set_num_threads(before)
    print(f"\ndone in {time.perf_counter() - start:.0f} s")
    return 0 if passed else 1


def digits() -> None:
    print("1. A Res2Net trained on handwritten digits (UCI), on images it has never seen")
    model = create_model(expand("digits"), pretrained=True)
    labels = labels_for(model.pretrained_cfg, model.num_classes)
    transform = create_transform(**resolve_model_data_config(model))
    paths = sorted((DIGITS / "images").glob("digit_*.png"))  # digit_<true class>_<number>.png
    print(f"\n{'file':16} {'true':>5} {'predicted':>10} {'probability':>12}")
    with ImageBatches(paths, transform, batch_size=len(paths)) as batches:
        for batch in batches:
            with torch.no_grad():
                best = model(batch.images).softmax(dim=1).max(dim=1)
            for item, probability, index in zip(batch.items, *best, strict=True):
                true, predicted = item.path.stem.split("_")[1], labels[index]
                mark = "" if predicted == true else "   wrong"
                print(f"{item.path.name:16} {true:>5} {predicted:>10} {probability:12.1%}{mark}")
    correct, total = held_out_accuracy(model)
    print(f"held-out quarter of the set: {correct} of {total} right ({correct / total:.1%})")


def held_out_accuracy(model: Res2NetModel) -> tuple[int, int]:
    """Right answers and images of the quarter of the data set that training did not see."""
    import numpy as np
    from PIL import Image

    transform = create_transform(**resolve_model_data_config(model))
    with np.load(DIGITS / "heldout.npz") as data:
        images, truth = data["images"], torch.from_numpy(data["labels"].astype(np.int64))
    x = torch.stack([transform(Image.fromarray(image)) for image in images])
    with torch.no_grad():
        predicted = model(x).argmax(dim=1)
    return int((predicted == truth).sum()), len(truth)


def headline() -> bool:
    """Parity, cost and throughput; no throughput where parity fails."""
    from ..benchmarks.eager import compare
    from ..benchmarks.machine import describe_machine

    print(f"\n2. {HEADLINE}, seeded random weights, against plain PyTorch\n")
    eager = eager_model(HEADLINE, "reference")
    x = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    rows = check_parity(eager, x[:1], torch.float32, backend="auto", device="cpu")
    if not show(rows, "reference"):
        return False

    ours = from_timm(eager)
    plan = ours.plan(1, 224, 224)
    print("\n3. Its cost and throughput at 224x224")
    print(textwrap.fill(describe_machine(), 78, initial_indent="   ", subsequent_indent="   "))
    exact = {
        "parameters": f"{ours.config.parameters / 1e6:.2f} M",
        "MACs": f"{plan.macs / 1e9:.3f} G",
        "activations": f"{plan.activations / 1e6:.2f} M",
    }
    print(f"\n{'':24} {'here':>10} {'model card':>12}")
    for name, value in exact.items():
        print(f"{name:24} {value:>10} {CARD[name]:>12}")

    result = compare(eager, ours, x, peer="reference", rounds=ROUNDS)
    heading = f"batch {BATCH}, float32"
    print(f"\n{heading:32} {'img/s':>8} {'ms/batch':>10} {'GMAC/s':>8}")
    for timed in (result.eager, result.ours):
        rate = BATCH / timed.median
        print(f"{timed.name:32} {rate:8.2f} {timed.median * 1e3:10.1f} {rate * result.gmacs:8.1f}")
    print(f"{f'speed-up, median of {ROUNDS} rounds':32} {result.speedup:7.2f}x")
    return True
