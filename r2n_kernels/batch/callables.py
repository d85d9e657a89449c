"""Classifier and Embedder are functions of batches that frameworks send to their workers.

Only what they were told is pickled: each process makes its model at the first batch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..create import create_model
from ..data import Item
from ..decode import DECODES, Limits
from ..errors import ConfigError
from ..model.bundled import Model
from ..names import is_bundle
from .columns import Columns, Opened
from .feed import Apply
from .models import device_of, dtype_of, labels_of
from .run import Feeding, Run, embeddings, probabilities
from .sources import source_of
from .top import best


class BatchFunction:
    """A BatchFunction maps a batch of columns to itself with what a model says of each image.

    The images are in the column "bytes" (content of files), "image" (uint8 arrays [H, W, 3], PIL
    images, Hugging Face's dicts of bytes and path), "source" (any of bytes, paths and what has a
    `read`) or "path"; the first of these that is there. A batch is a dict of sequences, as Ray
    Data has it, a pyarrow.Table or a pandas.DataFrame, and comes back as the same. All columns but
    the images pass through; "status" ("ok" or "error"), "error" (the reason, or None) and those of
    the subclass are new. Rows keep their order, and an image that cannot be read is a row.
    """

    def __init__(
        self, model: str | Path, *, weights: str | Path | None = None,
        num_classes: int | None = None, device: str = "auto",
        dtype: str | torch.dtype | None = None, backend: str = "auto", decode: str = "exact",
        preprocessing: Mapping[str, Any] | None = None, batch_size: int | None = None,
        workers: int | None = None, isolate: bool = False, limits: Limits | None = None,
        sha256: str | None = None,
    ) -> None:  # fmt: skip
        """Keep what `create_model` will be told.

        model: a name, "hf-hub:...", "local-dir:..." or a bundle, "model.r2n"; with its own weights
        or those of `weights`. device: "auto" is a GPU if the process has one. dtype: float32, or a
        bundle's own. preprocessing: entries that win over the model's (timm's names). batch_size:
        images at once, by default 8 on a CPU and what the memory holds on a GPU; batches are cut
        into these, so give whole ones. decode, workers, isolate, limits: see `ImageBatches`.
        sha256: of a bundle's file.

        Raises ConfigError for what can be told without the model; the first call raises what
        `create_model` does.
        """
        if decode not in DECODES:
            raise ConfigError(f"decode must be one of {', '.join(DECODES)}, got '{decode}'")
        for name, count in (("batch_size", batch_size), ("workers", workers)):
            if count is not None and count < 1:
                raise ConfigError(f"{name} must be at least 1, got {count}")
        self.device, self.backend, self.batch_size = device, backend, batch_size
        self.feeding = Feeding(workers, decode, isolate, limits or Limits())
        self.preprocessing = dict(preprocessing or {})
        self._how: dict[str, Any] = {
            "model_name": os.fspath(model), "pretrained": weights is None,
            "checkpoint": None if weights is None else os.fspath(weights), "backend": backend,
            "dtype": dtype_of(dtype), "num_classes": num_classes, "sha256": sha256,
        }  # fmt: skip
        self._run: Run | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_run", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _run=None, _lock=threading.Lock())

    def __call__(self, batch: Any) -> Any:
        """Return the batch with the new columns.

        Raises ConfigError where no column has images, TypeError for another kind of batch, and
        `create_model`'s errors at the first call.
        """
        opened, run = Opened(batch), self.run()
        sources = [source_of(opened.kind, value) for value in opened.sources()]
        items: list[Item] = []
        rows: list[Tensor] = []
        for part, found in run.batches(sources, self.feeding):
            items += part.items
            rows += () if found is None else found
        every = iter(rows)
        outputs = [next(every) if item.ok else None for item in items]
        status: Columns = {
            "status": ["ok" if item.ok else "error" for item in items],
            "error": [item.error for item in items],
        }
        return opened.with_columns(status | self.columns(outputs, run.model))

    def run(self) -> Run:
        """Return the run, whose model is made once per process."""
        with self._lock:
            if self._run is None:
                model = create_model(**self._how, device=device_of(self.device))
                self._run = Run(model, self.apply(model), self.batch_size, self.preprocessing)
            return self._run

    def apply(self, model: Model) -> Apply:
        """Return what makes rows of a batch of images. Raises ConfigError if the model cannot."""
        raise NotImplementedError

    def columns(self, rows: Sequence[Tensor | None], model: Model) -> Columns:
        """Return the new columns of rows, None where an image failed."""
        raise NotImplementedError


class Classifier(BatchFunction):
    """A Classifier adds top_index, top_label and top_probability: lists, the best class first.

    They are empty where an image failed; labels are None where they are not known.
    """

    def __init__(
        self, model: str | Path, *, topk: int = 5, probabilities: bool = False, **options: Any
    ) -> None:
        """Take the options of `BatchFunction`. probabilities: add them, [num_classes] float32."""
        if topk < 1:
            raise ConfigError(f"topk must be at least 1, got {topk}")
        super().__init__(model, **options)
        self.topk, self.probabilities = topk, probabilities

    def apply(self, model: Model) -> Apply:
        if model.num_classes == 0:
            raise ConfigError("this model has no classifier; use Embedder")
        return probabilities(model)

    def columns(self, rows: Sequence[Tensor | None], model: Model) -> Columns:
        topk, labels = min(self.topk, model.num_classes), labels_of(model)
        tops = [[] if row is None else best(row, topk, labels) for row in rows]
        names = ("top_index", "top_label", "top_probability")
        found: Columns = {
            name: [[one[i] for one in top] for top in tops] for i, name in enumerate(names)
        }
        if self.probabilities:
            found["probabilities"] = matrix(rows, model.num_classes, "float32")
        return found


class Embedder(BatchFunction):
    """An Embedder adds embedding, [D] floats, NaN where an image failed."""

    def __init__(
        self, model: str | Path, *, embedding_dtype: str = "float32", **options: Any
    ) -> None:
        """Take the options of `BatchFunction`. embedding_dtype: float32 or float16."""
        if embedding_dtype not in ("float32", "float16"):
            raise ConfigError(
                f"embedding_dtype must be float32 or float16, got '{embedding_dtype}'"
            )
        if not is_bundle(model):  # which keeps its classifier, and runs without it
            options.setdefault("num_classes", 0)
        super().__init__(model, **options)
        self.embedding_dtype = embedding_dtype

    def apply(self, model: Model) -> Apply:
        return embeddings(model)

    def columns(self, rows: Sequence[Tensor | None], model: Model) -> Columns:
        return {"embedding": matrix(rows, model.head_hidden_size, self.embedding_dtype)}


def matrix(rows: Sequence[Tensor | None], width: int, dtype: str) -> np.ndarray:
    """Return rows [width] as one array [N, width], NaN for None."""
    found = np.full((len(rows), width), np.nan, dtype)
    for place, row in enumerate(rows):
        if row is not None:
            found[place] = row.numpy()
    return found
