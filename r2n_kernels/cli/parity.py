"""r2n parity: how far the folded network is from eager PyTorch."""

from __future__ import annotations

import argparse

import torch

from ..config import HEADLINE, variant_name
from ..parity import PEERS, ParityRow, check_parity, eager_model
from .options import add_run_arguments, positive

HELP = "compare every feature map and the logits with timm or the reference"
EXAMPLES = """examples:
  r2n parity
  r2n parity --model res2next50 --against reference --size 160x192 --batch 3 --dtype bfloat16

weights and BatchNorm statistics are random and seeded, so nothing is downloaded

exit codes: 0 parity holds; 1 it does not; 2 wrong usage
"""


def size(text: str) -> tuple[int, int]:
    """ "224" or "160x192" -> height, width."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=HEADLINE, metavar="NAME")
    parser.add_argument("--against", choices=PEERS, default="timm")
    parser.add_argument("--size", type=size, default=(224, 224), metavar="PX or HxW")
    parser.add_argument("--batch", type=positive, default=2, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    name = variant_name(args.model)
    eager = eager_model(name, args.against, args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.randn(args.batch, 3, *args.size, generator=generator)
    dtype = getattr(torch, args.dtype)
    rows = check_parity(eager, x, dtype, backend=args.backend, device=args.device)
    height, width = args.size
    print(f"{name} against {args.against}: {args.dtype}, batch {args.batch}, {height}x{width}")
    show(rows, args.against)
    return 0 if all(row.verdict.passed for row in rows) else 1


def show(rows: list[ParityRow], peer: str) -> None:
    """The table and the verdict."""
    wide = "float64" if rows[0].verdict.dtype == torch.float32 else "float32"
    print(f"{'output':10} {'vs ' + peer:>14} {'vs ' + wide:>12} {'limit':>9}   (relative errors)")
    for row in rows:
        v = row.verdict
        mark = "ok" if v.passed else "FAIL"
        print(f"{v.name:10} {row.direct:14.1e} {v.error:12.1e} {v.limit:9.1e}   {mark}")
    passed = all(row.verdict.passed for row in rows)
    print(f"parity: {'PASS' if passed else 'FAIL'} (limit: twice the error of eager {peer})")
