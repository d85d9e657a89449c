"""r2n demo does the whole job on real input, offline."""

from __future__ import annotations

import argparse
import textwrap
import time
from typing import TYPE_CHECKING

from ..config import HEADLINE, VARIANTS
from ..text import Table, text_table
from .arguments import add_shared
from .bundled import DIGITS, expand
from .parity import show
from .progress import progress

if TYPE_CHECKING:
    from ..model.bundled import Model

EXAMPLES = """examples:
  r2n demo
  r2n demo --threads 1

Takes less than a minute on two cores. In the other commands the digits model
is `--model digits`.

exit codes: 0 parity holds; 1 it does not; 2 wrong usage; 130 stopped
"""

BATCH, SIDE, ROUNDS = 4, 224, 5
DIGIT_TABLE = Table(
    [("file", "<16"), ("true", ">5"), ("predicted", ">10"), ("probability", ">12"), ("", "<0")]
)
COST_TABLE = Table([("", "<24"), ("here", ">10"), ("model card", ">12")])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--threads")


def run(args: argparse.Namespace) -> int:
    from ..measure.timing import cpu_threads

    start = time.perf_counter()
    with cpu_threads(args.threads):
        digits()
        passed = headline()
    print(f"\ndone in {time.perf_counter() - start:.0f} s")
    return 0 if passed else 1


def digits() -> None:
    import torch

    from ..create import create_model
    from ..data import ImageBatches, create_transform, labels_for, resolve_model_data_config

    print("1. A Res2Net trained on handwritten digits (UCI), on images it has never seen")
    model = create_model(expand("digits"), pretrained=True)
    labels = labels_for(model.pretrained_cfg, model.num_classes) or ()
    transform = create_transform(**resolve_model_data_config(model))
    paths = sorted((DIGITS / "images").glob("digit_*.png"))  # digit_<true class>_<number>.png
    print(f"\n{DIGIT_TABLE.head}")
    with ImageBatches(paths, transform, batch_size=len(paths)) as batches:
        for batch in batches:
            with torch.no_grad():
                best = model(batch.images).softmax(dim=1).max(dim=1)
            for item, probability, index in zip(batch.items, *best, strict=True):
                true, predicted = item.path.stem.split("_")[1], labels[index]
                mark = "" if predicted == true else "  wrong"
                cells = (item.path.name, true, predicted, f"{probability:.1%}", mark)
                print(DIGIT_TABLE.line(cells))
    correct, total = held_out_accuracy(model)
    print(f"held-out quarter of the set: {correct} of {total} right ({correct / total:.1%})")


def held_out_accuracy(model: Model) -> tuple[int, int]:
    """Return right answers and images, of the quarter of the data set unseen in training."""
    import numpy as np
    import torch
    from PIL import Image

    from ..data import create_transform, resolve_model_data_config

    transform = create_transform(**resolve_model_data_config(model))
    with np.load(DIGITS / "heldout.npz") as data:
        images, truth = data["images"], torch.from_numpy(data["labels"].astype(np.int64))
    x = torch.stack([transform(Image.fromarray(image)) for image in images])
    with torch.no_grad():
        predicted = model(x).argmax(dim=1)
    return int((predicted == truth).sum()), len(truth)


def headline() -> bool:
    """Show parity, cost and throughput; no throughput where parity fails."""
    import torch

    from ..benchmarks.network import Bench
    from ..benchmarks.peers import PEERS, our_peer
    from ..benchmarks.tables import CARD, costs
    from ..engine import choose_backend
    from ..measure.machine import describe_machine
    from ..plan import build_plan
    from ..proof.parity import check_parity

    print(f"\n2. {HEADLINE}, seeded random weights, against plain PyTorch\n")
    cpu = torch.device("cpu")
    backend, _ = choose_backend(cpu)
    bench = Bench(HEADLINE, [PEERS["reference"], our_peer(backend)])
    x = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with progress(1, "network"):
        rows = check_parity(bench.reference, x, torch.float32, backend=backend, device="cpu")
    if not show(rows, "reference"):
        return False

    print(f"\n3. Its cost and throughput at {SIDE}x{SIDE}")
    print(textwrap.fill(describe_machine(), 78, initial_indent="   ", subsequent_indent="   "))
    plan = build_plan(VARIANTS[HEADLINE], BATCH, SIDE, SIDE, backend=backend)
    found = ((name, value, CARD[name]) for name, value in costs(plan).items())
    print("\n" + "\n".join(COST_TABLE.lines(found)))

    with progress(1, "case"):
        eager, ours = bench.run(BATCH, SIDE, SIDE, torch.float32, cpu, rounds=ROUNDS)
    if not (eager.samples and ours.samples):
        return False
    table: list[tuple[str, ...]] = [(f"batch {BATCH}, float32", "img/s", "ms/batch", "GMAC/s")]
    for result, samples in ((eager, eager.samples), (ours, ours.samples)):
        seconds = samples.median
        row = (BATCH / seconds, seconds * 1e3, plan.macs / 1e9 / seconds)
        table.append((result.peer.subject, *(f"{value:.1f}" for value in row)))
    print("\n" + "\n".join(text_table(table)))
    print(f"speed-up, median of {ROUNDS} rounds: {ours.samples.speedup_over(eager.samples):.2f}x")
    return True
