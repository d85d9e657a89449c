"""r2n parity: how far the folded network is from eager PyTorch."""

from __future__ import annotations

import argparse

import torch

from ..config import HEADLINE, variant_name
from ..proof.parity import PEERS, ParityRow, check_parity, eager_model
from ..proof.tolerance import NETWORK_FLOAT32
from .options import add_run_arguments, image_size, positive, precision_from

HELP = "compare every feature map and the logits with timm or the reference"
EXAMPLES = """examples:
  r2n parity
  r2n parity --model res2next50 --against reference --size 160x192 --batch 3
  r2n parity --dtype bfloat16 --seed 1

Weights and BatchNorm statistics are random and seeded: nothing is downloaded.

exit codes: 0 parity holds; 1 it does not; 2 wrong usage; 130 stopped
"""
SEEDS = 2**63


def seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < SEEDS):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got '{text}'")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default=HEADLINE, metavar="NAME", help="of `r2n models` (default: %(default)s)"
    )
    parser.add_argument(
        "--against",
        choices=PEERS,
        default="timm",
        help="the eager model; reference is this package's own, in plain PyTorch (default: timm)",
    )
    parser.add_argument(
        "--size", type=image_size, default=(224, 224), metavar="PX|HxW", help="default: 224"
    )
    parser.add_argument("--batch", type=positive, default=2, metavar="N", help="default: 2")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="default: 0")
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    name = variant_name(args.model)
    dtype, device = precision_from(args)
    eager = eager_model(name, args.against, args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.randn(args.batch, 3, *args.size, generator=generator)
    rows = check_parity(eager, x, dtype, backend=args.backend, device=str(device))
    height, width = args.size
    print(f"{name} against {args.against}: {args.dtype}, batch {args.batch}, {height}x{width}")
    return 0 if show(rows, args.against) else 1


def show(rows: list[ParityRow], peer: str) -> bool:
    """Print the table and the verdict; True if every output passed."""
    wide = "float64" if rows[0].verdict.dtype == torch.float32 else "float32"
    print(f"{'output':10} {'vs ' + peer:>14} {'vs ' + wide:>12} {'limit':>9}   (relative errors)")
    for row in rows:
        v = row.verdict
        mark = "ok" if v.passed else "FAIL"
        print(f"{v.name:10} {row.direct:14.1e} {v.error:12.1e} {v.limit:9.1e}   {mark}")
    passed = all(row.verdict.passed for row in rows)
    floor = f", at least {NETWORK_FLOAT32:.0e}" if wide == "float64" else ""
    print(f"parity: {'PASS' if passed else 'FAIL'} (limit: twice the error of eager {peer}{floor})")
    return passed
