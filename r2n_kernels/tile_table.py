"""Measured tiles lie in a file, by device: JSON that people may read, merge and keep under git.

`r2n tune` writes it, `load_tiles` reads it for `TritonOptions(tiles=...)`.

{"schema": 1, "devices": {"NVIDIA H100 80GB HBM3": {
    "tiles": {"conv1 m=50176 k=1024 n=416 float16": {"block_m": 128, ...}},
    "triton": "3.8.0", ...}}}                               # what it was measured with, and when
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import replace_text
from .kernels.tiles import TileConfig, TileTable

SCHEMA = 1


def load_tiles(path: str | os.PathLike, device_name: str) -> TileTable:
    """Return the tiles that were measured on `device_name`, as torch.cuda.get_device_name says it.

    Raises ConfigError for a file that is damaged, has another schema or no such device, and for a
    tile that no kernel can have.
    """
    devices = read_devices(path)
    if device_name not in devices:
        names = ", ".join(f"'{name}'" for name in sorted(devices)) or "none"
        raise ConfigError(
            f"tile table {os.fspath(path)!r} has no device '{device_name}'; it has: {names}"
        )
    tiles = {}
    for key, stated in devices[device_name]["tiles"].items():
        try:
            tiles[key] = _read_tile(stated)
        except ValueError as error:
            where = f"tile table {os.fspath(path)!r}: '{key}'"
            raise ConfigError(f"{where}: {error}") from error
    return TileTable(tiles)


def save_tiles(
    tiles: Mapping[str, TileConfig], path: str | os.PathLike, device_name: str,
    facts: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write the device's tiles; a file that exists keeps its other devices.

    facts: versions, date, and what else should be known of the measurement. Raises ConfigError.
    """
    devices = read_devices(path) if os.path.exists(path) else {}
    fields = {key: dataclasses.asdict(tile) for key, tile in tiles.items()}
    devices[device_name] = {**(facts or {}), "tiles": fields}
    write_devices(path, devices)


def read_devices(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Return device name -> {"tiles": {key: fields of a tile}, and facts of the measurement}.

    Raises ConfigError for a file that cannot be read, is no JSON, or has another schema.
    """
    where = f"tile table {os.fspath(path)!r}"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise ConfigError(f"{where} is damaged: {error}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ConfigError(f"{where} has schema {schema!r}, expected {SCHEMA}; run `r2n tune` anew")
    devices = content.get("devices")
    if not isinstance(devices, dict):
        raise ConfigError(f"{where} has no table 'devices'")
    for name, device in devices.items():
        if not isinstance(device, dict) or not isinstance(device.get("tiles"), dict):
            raise ConfigError(f"{where} has no table 'tiles' for the device '{name}'")
    return devices


def write_devices(path: str | os.PathLike, devices: dict[str, dict[str, Any]]) -> None:
    """Replace the file at once: a reader sees the old one or the new one, whole.

    Raises ConfigError where it cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, "devices": devices}, indent=2, sort_keys=True) + "\n"
    try:
        replace_text(path, text)
    except OSError as error:
        raise ConfigError(
            f"tile table {os.fspath(path)!r} cannot be written: {error.strerror}"
        ) from error


def _read_tile(stated: object) -> TileConfig:
    """Return a tile. Raises ValueError unless `stated` has its fields, all whole numbers in range.

    A field with a default may be missing: tables from before it was there stay good.
    """
    fields = dataclasses.fields(TileConfig)
    names = {field.name for field in fields}
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if not isinstance(stated, dict) or not needed <= set(stated) <= names:
        found = ", ".join(sorted(stated)) if isinstance(stated, dict) else repr(stated)
        raise ValueError(f"must have {', '.join(sorted(names))}; it has {found}")
    if not all(type(value) is int for value in stated.values()):
        raise ValueError(f"must have whole numbers, got {stated}")
    return TileConfig(**stated)
