"""timm itself loads a model and prepares its images, for ours to be compared with."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..engine.precision import ieee_float32
from ..errors import ConfigError
from ..extras import load
from ..names import FOLDER, split_source
from .accuracy import Logits
from .tolerance import oracle_dtype

_LOADING = (RuntimeError, OSError, ValueError, KeyError, AssertionError, pickle.UnpicklingError)
_LAYOUTS = (torch.contiguous_format, torch.channels_last)


class TimmPeer:
    """A TimmPeer is timm's network, with the weights as timm reads them, and timm's transform."""

    def __init__(
        self, name: str, checkpoint: str | None, num_classes: int, preprocessing: Mapping[str, Any],
        dtype: torch.dtype, device: torch.device,
    ) -> None:  # fmt: skip
        """Load what `create_model` took; preprocessing: timm's words, which win over the model's.

        Raises ConfigError without timm, and where timm cannot load it.
        """
        timm = load("timm", "timm", "a comparison with timm")
        try:
            network = timm.create_model(**_arguments(name, checkpoint, num_classes)).eval()
        except _LOADING as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise ConfigError(
                f"timm cannot load {checkpoint or name}: {lines[0]}; `r2n convert` writes a folder "
                "that it reads"
            ) from error
        config = timm.data.resolve_model_data_config(network, args=dict(preprocessing))
        self.transform: Callable[[Image.Image], Tensor] = timm.data.create_transform(**config)
        self.dtype, self.wide, self.device = dtype, oracle_dtype(dtype), device
        self._oracle = copy.deepcopy(network).to(device, self.wide)
        self._network = network.to(device, dtype)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Logits:
        """Return the logits of images [N, C, H, W]: in the dtype per layout, and in a wider one."""
        x = images.to(self.device, self.dtype)
        with ieee_float32():
            rounded = [self._network(x.to(memory_format=one)).float().cpu() for one in _LAYOUTS]
            return rounded, self._oracle(x.to(self.wide)).cpu()


def _arguments(name: str, checkpoint: str | None, num_classes: int) -> dict[str, Any]:
    if checkpoint is None:
        return {"model_name": name, "pretrained": True}
    if split_source(checkpoint)[0] is not None:
        return {"model_name": checkpoint, "pretrained": True}
    folder = checkpoint if os.path.isdir(checkpoint) else os.path.dirname(checkpoint) or "."
    if os.path.isfile(os.path.join(folder, "config.json")):
        return {"model_name": f"{FOLDER}:{folder}", "pretrained": True}
    return {"model_name": name, "checkpoint_path": checkpoint, "num_classes": num_classes}
