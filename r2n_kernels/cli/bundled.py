"""This file names what comes with the package and needs no network."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

DIGITS = Path(__file__).parents[1] / "assets" / "digits"

# Short names of the command line for models in timm's folder format.
MODELS = MappingProxyType({"digits": DIGITS})


def expand(name: str) -> str:
    """Turn "digits" into "local-dir:<its folder>"; keep any other model name."""
    return f"local-dir:{MODELS[name]}" if name in MODELS else name
