"""Recognise a folder that Hugging Face's `datasets` saved to disk."""

from __future__ import annotations

import json
import os
from typing import Any

from ..errors import ConfigError
from ..text import listed
from .files import reason_of


def saved_files(folder: str) -> list[str] | None:
    """Return the Arrow files of a saved dataset, in order; None if the folder holds none.

    Raises ConfigError for a folder of several splits, which it names, or one that is damaged.
    """
    state = _json(os.path.join(folder, "state.json"), "_data_files")
    if state is not None:
        if state.get("_indices_data_files"):
            raise ConfigError(f"{folder!r} was saved with indices, by an old `datasets`: save anew")
        try:
            names = [os.path.basename(file["filename"]) for file in state["_data_files"]]
        except (TypeError, KeyError) as error:
            raise ConfigError(f"{folder!r}: state.json names no files") from error
        return [os.path.join(folder, name) for name in names]
    splits = _json(os.path.join(folder, "dataset_dict.json"), "splits")
    if splits is not None:
        paths = [repr(os.path.join(folder, str(split))) for split in splits["splits"]]
        raise ConfigError(f"{folder!r} holds several splits; give one of them: {listed(paths)}")
    return None


def _json(path: str, key: str) -> dict[str, Any] | None:
    """Return what a file holds; None if there is none, or it is another program's."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path!r}: {reason_of(error)}") from error
    return found if isinstance(found, dict) and isinstance(found.get(key), list) else None
