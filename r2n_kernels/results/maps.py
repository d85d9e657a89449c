"""This file writes feature maps as safetensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .file import ResultFile


class MapWriter(ResultFile):
    """A MapWriter writes named tensors of one image, in the dtype that they have."""

    suffixes = (".safetensors",)

    def write(self, maps: Mapping[str, torch.Tensor]) -> None:
        """Write all of the tensors; call it once."""
        from safetensors.torch import save

        self._file.write(save({name: value.cpu().contiguous() for name, value in maps.items()}))
        self.rows += 1
