"""A model's identity says whether two runs make the same rows of the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data import resolve_model_data_config
from ..digest import hash_tensors
from ..model.bundled import BundledModel
from ..weights.files import sha256_of

if TYPE_CHECKING:
    from ..model.bundled import Model


def identity(model: Model, preprocessing: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what decides the rows of an image, as JSON has it.

    The weights are hashed as they are in the model, so that it does not matter which file they came
    from; a bundle's are its file's hash, and those beside it where it has none. preprocessing:
    entries that win over the model's. Raises ConfigError where something of it is missing.
    """
    told = {"in_chans": model.in_chans, **(preprocessing or {})}
    config = resolve_model_data_config(model, told)
    height, width = config["input_size"][1:]
    found = {
        "name": model.pretrained_cfg.get("architecture"),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "num_classes": model.num_classes,
        "preprocessing": {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()},
    }
    if not isinstance(model, BundledModel):
        backend = model.plan(1, height, width).backend
        if backend == "openvino" and model.quantization is not None:
            found["quantization"] = model.quantization.digest
        return {**found, "backend": backend, "weights": _hashed(model.state_dict())}
    manifest = model.bundle.manifest
    found |= {"name": manifest.name, "backend": "bundle"}
    found["bundle"] = sha256_of(model.bundle.file.path)
    if manifest.weights is None:
        found["weights"] = _hashed(
            {
                f"{name}.{part}": tensor
                for name, conv in model.packed().items()
                for part, tensor in vars(conv).items()
                if tensor is not None
            }
        )
    return found


def _hashed(tensors: Mapping[str, Tensor]) -> str:
    return hash_tensors({name: tensor.detach().cpu() for name, tensor in tensors.items()})
