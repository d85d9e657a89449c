"""r2n models: the variants and their cost."""

from __future__ import annotations

import argparse
import json

from ..config import VARIANTS, Res2NetConfig
from ..plan import build_plan
from .options import image_size

HELP = "list the variants with parameters, GMACs and activations"
EXAMPLES = """examples:
  r2n models
  r2n models --size 160x192 --json

exit codes: 0 done; 2 wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=image_size,
        default=(224, 224),
        metavar="PX|HxW",
        help="of the image (default: 224)",
    )
    parser.add_argument("--json", action="store_true", help="exact figures, as JSON")


def run(args: argparse.Namespace) -> int:
    rows = [describe(name, config, *args.size) for name, config in VARIANTS.items()]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'name':20} {'params M':>9} {'GMACs':>7} {'activations M':>14}")
    for row in rows:
        print(
            f"{row['name']:20} {row['parameters'] / 1e6:9.1f} {row['macs'] / 1e9:7.2f}"
            f" {row['activations'] / 1e6:14.1f}"
        )
    return 0


def describe(name: str, config: Res2NetConfig, height: int, width: int) -> dict[str, str | int]:
    """Exact counts for one image."""
    plan = build_plan(config, 1, height, width)
    return {
        "name": name,
        "height": height,
        "width": width,
        "parameters": config.parameters,
        "macs": plan.macs,
        "activations": plan.activations,
    }
