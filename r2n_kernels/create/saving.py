"""This file saves a model as a folder of timm's format, for `create_model("local-dir:...")`."""

from __future__ import annotations

import os

from ..errors import ConfigError
from ..model import Res2NetModel
from ..model.bundled import Model
from ..weights import load_weights, write_folder


def save_folder(model: Model, folder: str | os.PathLike) -> None:
    """Write config.json and model.safetensors: network, weights in float32, and pretrained_cfg.

    A quantization of the weights is written beside them.

    What the pretrained_cfg says of images (input_size, mean, std, ...) and classes (label_names) is
    read back with the weights. The folder appears when it is complete.

    Raises ConfigError for a bundle, whose weights are packed, and where something is there already;
    WeightsError where the weights were changed after they were quantized.
    """
    if not isinstance(model, Res2NetModel):
        raise ConfigError(f"a folder is written of a Res2NetModel, not of a {type(model).__name__}")
    weights = load_weights(model.state_dict(), model.config)
    if model.quantization is not None:
        model.quantization.check(weights.state)
    write_folder(folder, model.config, model.pretrained_cfg, weights.state, model.quantization)
