"""r2n parity tells how far the folded network is from eager PyTorch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..config import variant_name
from ..text import Table
from .arguments import add_run, add_shared, seed
from .progress import progress

if TYPE_CHECKING:
    from ..proof.parity import ParityRow

EXAMPLES = """examples:
  r2n parity
  r2n parity --model res2next50 --against reference --size 160x192 --batch 3
  r2n parity --dtype bfloat16 --seed 1

Weights and BatchNorm statistics are random and seeded: nothing is downloaded.

exit codes: 0 parity holds; 1 it does not; 2 wrong usage; 130 stopped
"""
PEERS = ("timm", "reference")  # as proof.parity has them, which imports torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--model", "--size")
    add_shared(parser, "--batch", nargs=None, default=2, help="default: 2")
    parser.add_argument(
        "--against",
        choices=PEERS,
        default="timm",
        help="the eager model; reference is this package's own, in plain PyTorch (default: timm)",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="default: 0")
    add_run(parser)


def run(args: argparse.Namespace) -> int:
    import torch

    from ..proof.parity import check_parity, eager_model
    from .load import precision_from

    name = variant_name(args.model)
    dtype, device = precision_from(args.dtype, args.device, args.backend)
    eager = eager_model(name, args.against, args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.randn(args.batch, 3, *args.size, generator=generator)
    with progress(1, "network"):
        rows = check_parity(eager, x, dtype, backend=args.backend, device=str(device))
    height, width = args.size
    print(f"{name} against {args.against}: {args.dtype}, batch {args.batch}, {height}x{width}")
    return 0 if show(rows, args.against) else 1


def show(rows: list[ParityRow], peer: str) -> bool:
    """Print the table and the verdict; return True if every output passed."""
    import torch

    from ..proof.tolerance import NETWORK_FLOAT32

    wide = "float64" if rows[0].verdict.dtype == torch.float32 else "float32"
    titles = ("output", f"vs {peer}", f"vs {wide}", "limit", "  (relative errors)")
    table = Table(list(zip(titles, ("<10", ">14", ">12", ">9", "<0"), strict=True)))
    print(table.head)
    for row in rows:
        v = row.verdict
        errors = (f"{error:.1e}" for error in (row.direct, v.error, v.limit))
        print(table.line([v.name, *errors, f"  {'ok' if v.passed else 'FAIL'}"]))
    passed = all(row.verdict.passed for row in rows)
    floor = f", at least {NETWORK_FLOAT32:.0e}" if wide == "float64" else ""
    print(f"parity: {'PASS' if passed else 'FAIL'} (limit: twice the error of eager {peer}{floor})")
    return passed
