"""A worker's model maps pixels to answers; what its batches need is compiled beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import batches_of, best, parts
from ..data import create_transform, resolve_model_data_config
from ..data.transform import pixels_of
from ..decode.decoder import Decoder
from ..decode.isolated import IsolatedDecoder
from ..decode.limits import Limits
from ..model.bundled import BundledModel, Model
from .payload import Payload

HEADS = {"topk": "logits", "embedding": "embedding"}  # a wanted output -> the model's


class Network:
    """A network has a model, its preprocessing, and the batches it is run with.

    Images are from anyone: processes decode them, each of which `limits` stops. They end with
    `close`, and with this process, however it ends.
    """

    def __init__(
        self, model: Model, labels: tuple[str, ...] | None, max_batch: int, limits: Limits
    ) -> None:
        """Raise BundleError where a bundle has no code for the images' size."""
        self.model, self.labels = model, labels
        self.transform = create_transform(**resolve_model_data_config(model))
        self.decode = IsolatedDecoder(Decoder(self.transform.geometry, limits))
        height, width = self.transform.input_size[1:]
        self.sizes = batches_of(model, max_batch, height, width)
        if not self.sizes and model.device.type == "cuda":
            # Of all counts, few sizes: each compiles its kernels, and four keep their buffers.
            self.sizes = tuple(sorted({1, max_batch // 8, max_batch // 2, max_batch} - {0}))

    def pixels(self, content: bytes) -> np.ndarray:
        """Decode and prepare an image, uint8 [H, W, C]. Raises ImageError."""
        return pixels_of(self.decode(content))

    def close(self) -> None:
        """End the processes that decode."""
        self.decode.close()

    def warm(self) -> None:
        """Run zeros in all that may be asked, twice: the second time packs, or captures a graph.

        On a GPU in each size; a CPU compiles nothing.
        """
        channels, height, width = self.transform.input_size
        heads = (("embedding",), ("logits",), ("embedding", "logits"))
        on_gpu = self.model.device.type == "cuda"
        for size in self.sizes if on_gpu else self.sizes[:1] or (1,):
            images = list(np.zeros((size, height, width, channels), np.uint8))
            for wanted in heads if self.model.num_classes else heads[:1]:
                for _ in range(2):
                    self._outputs(images, wanted)

    def answers(self, images: Sequence[np.ndarray], asked: Sequence[Payload]) -> list[Any]:
        """Return what was asked of each image; None where the model's numbers are not finite."""
        wanted = sorted({payload.output for payload in asked})
        found = dict(zip(wanted, self._outputs(images, [HEADS[w] for w in wanted]), strict=True))
        if "topk" in found:
            found["topk"] = found["topk"].softmax(dim=1)
        rows = (found[payload.output][place] for place, payload in enumerate(asked))
        return [self._answer(row, payload) for row, payload in zip(rows, asked, strict=True)]

    def _answer(self, row: Tensor, payload: Payload) -> Any:
        if not row.isfinite().all():
            return None
        if payload.output == "embedding":
            return row.tolist()
        keys = ("index", "label", "probability")
        return [dict(zip(keys, c, strict=True)) for c in best(row, payload.topk, self.labels)]

    @torch.no_grad()
    def _outputs(self, images: Sequence[np.ndarray], heads: Sequence[str]) -> list[Tensor]:
        """Return these outputs of the images, float32 on the CPU."""
        x = torch.from_numpy(np.stack(images)).to(self.model.device)
        enough = tuple(size for size in self.sizes if size >= len(x))[:1]
        found = [
            [output[:count].float().cpu() for output in self.model.outputs(part, (), heads)]
            for part, count in parts(x, enough or self.sizes)
        ]
        return [torch.cat(outputs) for outputs in zip(*found, strict=True)]

    def facts(self) -> dict[str, Any]:
        """Return what `/info` states, and the server needs to know."""
        _, height, width = self.transform.input_size
        bundled = isinstance(self.model, BundledModel)
        return {
            "classes": self.model.num_classes,
            "features": self.model.num_features,
            "input": [height, width],
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "backend": "bundle" if bundled else self.model.plan(1, height, width).backend,
            "batches": list(self.sizes) or "any",
        }
