"""r2n models lists the variants and their cost."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..config import VARIANTS, Res2NetConfig
from ..text import Table
from .arguments import add_shared

EXAMPLES = """examples:
  r2n models
  r2n models --size 160x192 --json

exit codes: 0 done; 2 wrong usage
"""

TABLE = Table([("name", "<20"), ("params M", ">9"), ("GMACs", ">7"), ("activations M", ">14")])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--size")
    parser.add_argument("--json", action="store_true", help="exact figures, as JSON")


def run(args: argparse.Namespace) -> int:
    rows = [describe(name, config, *args.size) for name, config in VARIANTS.items()]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("\n".join(TABLE.lines(map(cells, rows))))
    return 0


def describe(name: str, config: Res2NetConfig, height: int, width: int) -> dict[str, Any]:
    """Return exact counts for one image."""
    from ..plan import build_plan

    plan = build_plan(config, 1, height, width)
    return {
        "name": name,
        "height": height,
        "width": width,
        "parameters": config.parameters,
        "macs": plan.macs,
        "activations": plan.activations,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """Return the texts of TABLE's columns."""
    parameters, activations = row["parameters"] / 1e6, row["activations"] / 1e6
    return [row["name"], f"{parameters:.1f}", f"{row['macs'] / 1e9:.2f}", f"{activations:.1f}"]
