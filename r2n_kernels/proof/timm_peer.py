"""timm's own transform and network take the same images, with the same weights."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..engine.precision import exact
from ..errors import ConfigError
from ..extras import load
from ..names import split_source
from ..sources import Sample
from ..weights import read_config
from ..weights.files import find_weights
from .accuracy import finite, worse
from .tolerance import oracle_dtype, relative_error

WHAT = "a comparison with timm"


def timm_network(
    name: str, weights: str | os.PathLike | None, num_classes: int, in_chans: int
) -> nn.Module:
    """Let timm load a model by itself, in float32: by name, or of a file or folder of weights.

    Raises ConfigError where timm is not installed, or cannot load it.
    """
    timm = load("timm", "timm", WHAT)
    options: dict[str, Any] = {"pretrained": True}
    path = None if weights is None else os.fspath(weights)
    described = split_source(name)[0] is not None  # by a config.json of its own, which counts
    if path is not None and not described and split_source(path)[0]:
        name = path
    elif path is not None and not described and os.path.isdir(path):
        name = f"local-dir:{path}"
    elif path is not None:
        file = str(find_weights(Path(path))) if os.path.isdir(path) else path
        options = {"pretrained": False, "checkpoint_path": file}
        if not described and read_config(path) is not None:
            name = f"local-dir:{os.path.dirname(path) or '.'}"
        elif not described:
            options |= {"num_classes": num_classes, "in_chans": in_chans}
    try:
        return timm.create_model(name, **options).float().eval()
    except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"timm cannot load '{path or name}': {reason}") from error


class TimmPeer:
    """A TimmPeer judges our logits of images: against timm's, and both against a wider dtype's."""

    def __init__(
        self, network: nn.Module, preprocessing: Mapping[str, Any], dtype: torch.dtype,
        device: torch.device,
    ) -> None:  # fmt: skip
        """network: timm's, in float32. preprocessing: what was said of images, in timm's words."""
        data = load("timm.data", "timm", WHAT)
        self.version: str = load("timm", "timm", WHAT).__version__
        self.config = data.resolve_data_config(dict(preprocessing), model=network)
        self.transform = data.create_transform(**self.config, is_training=False)
        self.mode = "RGB" if self.config["input_size"][0] == 3 else "L"  # as timm's validate.py
        self.dtype, self.device = dtype, device
        wide = copy.deepcopy(network).to(device, oracle_dtype(dtype))
        plain = copy.deepcopy(network).to(device, dtype)
        layouts = (torch.contiguous_format, torch.channels_last)
        self.eager = [copy.deepcopy(plain).to(memory_format=layout) for layout in layouts]
        self.layouts, self.wide = layouts, wide

    @torch.no_grad()
    def judged(self, samples: Sequence[Sample], ours: Tensor) -> list[dict[str, Any]]:
        """Return accuracy.PEER_FIELDS of each image, whose logits by us are a row of `ours`."""
        with ThreadPoolExecutor(min(len(samples), 8)) as pool:
            x = torch.stack(list(pool.map(self.prepared, samples))).to(self.device, self.dtype)
        with exact(self.device, oracle_dtype(self.dtype)):
            truth = self.wide(x.to(oracle_dtype(self.dtype))).cpu()
        with exact(self.device, self.dtype):
            eager = [
                network(x.contiguous(memory_format=layout)).cpu()
                for network, layout in zip(self.eager, self.layouts, strict=True)
            ]
        found = []
        for mine, true, *theirs in zip(ours, truth, *eager, strict=True):
            found.append({
                "timm_top1": int(theirs[0].float().argmax()),
                "difference": finite(relative_error(mine, theirs[0])),
                "our_error": finite(relative_error(mine, true)),
                "timm_error": finite(worse(*(relative_error(one, true) for one in theirs))),
            })  # fmt: skip
        return found

    def prepared(self, sample: Sample) -> Tensor:
        """Return an image as timm reads and prepares it. It could be read before."""
        source = sample.source
        if not isinstance(source, (str, bytes)):
            source = source.read()
        opened = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(opened) as found:
            return self.transform(found.convert(self.mode))
