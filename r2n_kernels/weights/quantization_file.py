"""A quantization is a file beside the weights that it is of, which config.json tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import WeightsError
from ..fold.quantization import Quantization, Range
from ..text import printable

QUANTIZATION_NAME = "quantization.safetensors"
METHOD = "r2n-int8"
STATED: Mapping[str, Any] = MappingProxyType({"quantization_config": {"quant_method": METHOD}})
FORMAT = "1"


def is_quantized(config: Mapping[str, Any] | None) -> bool:
    """Tell whether a config.json tells of a file beside it, of our kind.

    Raises WeightsError for another kind: nobody here knows what its weights are.
    """
    stated = (config or {}).get("quantization_config")
    if stated is None:
        return False
    method = stated.get("quant_method") if isinstance(stated, dict) else stated
    if method != METHOD:
        shown = printable(repr(method))[:80]
        raise WeightsError(f"config.json: expected quant_method '{METHOD}' or none, got {shown}")
    return True


def write_quantization(folder: Path, quantization: Quantization) -> None:
    """Write the file into a folder: scales, and the rest as JSON in its metadata."""
    stated = {
        "ranges": quantization.ranges,
        "trunk": quantization.trunk,
        "facts": quantization.facts,
    }
    metadata = {"format": FORMAT, **{key: json.dumps(value) for key, value in stated.items()}}
    save_file(dict(quantization.scales), folder / QUANTIZATION_NAME, metadata)


def read_quantization(path: Path) -> Quantization:
    """Read such a file. Raises WeightsError where it is missing, damaged or of a later format."""
    shown = printable(path)
    if not path.is_file():
        raise WeightsError(f"{shown}: config.json says that it is there, and it is missing")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                found = printable(repr(metadata.get("format")))[:80]
                raise WeightsError(f"{shown}: expected format '{FORMAT}', got {found}")
            scales = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        stated = {key: json.loads(text) for key, text in metadata.items() if key != "format"}
        ranges = {
            place: Range(float(low), float(high), int(levels))
            for place, (low, high, levels) in stated["ranges"].items()
        }
        return Quantization(scales, ranges, stated["trunk"], stated["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as cause:
        reason = printable(f"{type(cause).__name__}: {cause}")
        raise WeightsError(f"{shown}: damaged, or no quantization: {reason}") from cause
