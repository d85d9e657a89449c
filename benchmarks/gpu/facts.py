"""A section's facts are printed and saved as it finds them, so that a killed one leaves some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...files import replace_text


class Facts:
    """Facts keep a JSON object on disk. A disk that takes no more is told; printing goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = {}
        self._on_disk = True

    def keep(self, name: str, value: Any) -> None:
        self.found[name] = value
        print(f"{name}: {value}", flush=True)
        if self._on_disk:
            try:
                replace_text(self.path, json.dumps(self.found, indent=1) + "\n")
            except OSError as error:
                self._on_disk = False
                print(f"cannot write {self.path.name}: {error.strerror}", flush=True)
