"""r2n demo: the whole job on real input, offline."""

from __future__ import annotations

import argparse
import textwrap
import time

import torch

from ..config import HEADLINE, VARIANTS
from ..create import create_model
from ..data import ImageBatches, create_transform, labels_for, resolve_model_data_config
from ..model import Res2NetModel
from ..plan import build_plan
from ..proof.parity import check_parity
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

BATCH, SIDE, ROUNDS = 4, 224, 5


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
    from ..benchmarks.network import Bench
    from ..benchmarks.peers import PEERS, our_peer
    from ..benchmarks.tables import CARD, costs, text_table
    from ..measure.machine import describe_machine

    print(f"\n2. {HEADLINE}, seeded random weights, against plain PyTorch\n")
    cpu = torch.device("cpu")
    bench = Bench(HEADLINE, [PEERS["reference"], our_peer("torch")])
    x = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rows = check_parity(bench.reference, x, torch.float32, backend="torch", device="cpu")
    if not show(rows, "reference"):
        return False

    print(f"\n3. Its cost and throughput at {SIDE}x{SIDE}")
    print(textwrap.fill(describe_machine(), 78, initial_indent="   ", subsequent_indent="   "))
    plan = build_plan(VARIANTS[HEADLINE], BATCH, SIDE, SIDE)
    print(f"\n{'':24} {'here':>10} {'model card':>12}")
    for name, value in costs(plan).items():
        print(f"{name:24} {value:>10} {CARD[name]:>12}")

    eager, ours = bench.run(BATCH, SIDE, SIDE, torch.float32, cpu, rounds=ROUNDS)
    if eager.wrong or ours.wrong:
        return False
    table = [(f"batch {BATCH}, float32", "img/s", "ms/batch", "GMAC/s")]
    for result in (eager, ours):
        seconds = result.samples.median
        row = (BATCH / seconds, seconds * 1e3, plan.macs / 1e9 / seconds)
        table.append((result.peer.subject, *(f"{value:.1f}" for value in row)))
    print("\n" + "\n".join(text_table(table)))
    print(f"speed-up, median of {ROUNDS} rounds: {ours.samples.speedup_over(eager.samples):.2f}x")
    return True
