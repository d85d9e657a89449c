"""Users tell the OpenVINO backend where it keeps what it compiled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError


@dataclass(frozen=True)
class OpenVinoOptions:
    """Choose how the backend "openvino" runs.

    cache_dir: a folder for compiled networks, one file a shape, each as large as the weights; it is
        made where it is missing. None keeps none: compiling takes some tenths of a second.
    pinning: whether OpenVINO's threads stay on their cores, as they do where nobody says; with
        several processes on one machine they would stay on the same ones.
    """

    cache_dir: str | os.PathLike[str] | None = None
    pinning: bool = False

    def __post_init__(self) -> None:
        if self.cache_dir is not None and Path(self.cache_dir).is_file():
            raise ConfigError(f"cache_dir must be a folder, '{self.cache_dir}' is a file")
