"""A labelled set runs through a model, and through timm where it is asked, row by row."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from ..batch import Feeding, batches_of, device_batch, parts, usual_batch
from ..data import Batch, ImageBatches, create_transform
from ..data.targets import Lookup, Target
from ..errors import ConfigError
from ..model import Res2NetModel
from ..proof.accuracy import Tally, compared, judged
from ..proof.timm_peer import TimmPeer
from ..results import Row, Run
from ..sources import Inputs, Sample
from ..weights.files import sha256_of
from ..weights.sources import hash_tensors
from .batches import left_of
from .bundled import expand
from .preprocessing import preprocessing_from
from .progress import progress

if TYPE_CHECKING:
    from ..model.bundled import Model

Labels = Sequence[str] | None


class ValidateRun:
    """A ValidateRun makes a row per image, in input order, and counts it."""

    def __init__(
        self, args: argparse.Namespace, model: Model, config: dict[str, Any], inputs: Inputs,
        target: Target, labels: Labels, feeding: Feeding,
    ) -> None:  # fmt: skip
        """Load timm's model where it is compared with. Raises its ConfigError, and BundleError."""
        self.model, self.inputs, self.target, self.labels = model, inputs, target, labels
        self.feeding, self.topk = feeding, min(args.topk, model.num_classes)
        self.transform = create_transform(**config)
        height, width = self.transform.input_size[1:]
        usual = args.batch_size or device_batch(model, height, width)
        self.cuts = batches_of(model, usual, height, width)
        self.batch_size = args.batch_size or usual_batch(self.cuts, usual)
        self.peer: TimmPeer | None = None
        if args.against:
            self.peer = TimmPeer(
                expand(args.model), args.weights, model.num_classes,
                preprocessing_from(args, model.in_chans), model.dtype, model.device,
            )  # fmt: skip
        self.images, self.model_s, self.whole_s = 0, 0.0, 0.0

    def run(self, sink: Run | None) -> Tally:
        """Count what an earlier run has kept, then the other images; all rows go to the sink."""
        tally, done = Tally(self.model.dtype), 0
        if sink is not None:
            done = sink.rows
            for record in sink.records():
                tally.add(record)
        start = time.perf_counter()
        total = self.inputs.count
        samples = iter(self.inputs) if sink is None else left_of(self.inputs, sink)
        with progress(None if total is None else total - done, "img") as bar:
            for rows in self.batches(samples):
                if sink is not None:
                    sink.write(rows)
                for row in rows:
                    tally.add(as_record(row))
                bar.update(len(rows))
        self.whole_s = time.perf_counter() - start
        return tally

    def batches(self, samples: Iterable[Sample]) -> Iterator[list[Row]]:
        """Yield the rows of batch after batch."""
        how = self.feeding
        with ImageBatches(
            samples, self.prepared if self.peer else self.transform, self.batch_size, how.workers,
            self.transform.mode, decode=how.decode, limits=how.limits, isolate=how.isolate,
        ) as batches:  # fmt: skip
            for batch in batches:
                yield self.rows(batch)

    def prepared(self, image: Image.Image) -> Tensor:
        """Return an image with timm's own transform of it behind, [2, C, H, W]."""
        assert self.peer is not None
        return torch.stack([self.transform(image), self.peer.transform(image)])

    def rows(self, batch: Batch) -> list[Row]:
        outputs: Iterator[tuple[Tensor, dict[str, Any]]] = iter(())
        if batch.images is not None:
            outputs = self.outputs(batch.images)
        found = []
        for item in batch.items:
            logits, beside = next(outputs) if item.ok else (None, {})
            found.append(self.row(item.path, item.error, logits, beside))
        return found

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Yield the logits of each image [n, C, H, W], and how they compare with timm's.

        With a peer images are [n, 2, C, H, W], as `prepared` makes them.
        """
        start = time.perf_counter()
        x = (images[:, 0] if self.peer else images).to(self.model.device, self.model.dtype)
        every = [self.model(part)[:count].float().cpu() for part, count in parts(x, self.cuts)]
        logits = torch.cat(every)
        self.model_s += time.perf_counter() - start
        self.images += len(logits)
        if self.peer is None:
            yield from ((one, {}) for one in logits)
            return
        rounded, truth = self.peer(images[:, 1])
        for place, one in enumerate(logits):
            yield one, compared(one, ([theirs[place] for theirs in rounded], truth[place]))

    def row(
        self, sample: Sample, error: str | None, logits: Tensor | None, beside: dict[str, Any]
    ) -> Row:
        """Return the row of an image; a label that is no class is an error, too."""
        more: dict[str, Any] = {"label": sample.label, "target": None}
        if error is None:
            try:
                more["target"] = self.index_of(sample.label)
            except ConfigError as cause:
                error = str(cause)
        if error is not None or logits is None:
            return Row(sample.name, error, more=more)
        more |= judged(logits, more["target"], self.topk) | beside
        top = best(logits, self.topk, self.labels) if more["finite"] else []
        return Row(sample.name, None, top, more)

    def index_of(self, label: int | str | None) -> int:
        if label is None:
            raise ConfigError("it has no label")
        return self.target(label)

    def timing(self) -> dict[str, float]:
        """Return how long this run took, without what an earlier one has done."""
        each = 1e3 * self.model_s / self.images if self.images else 0.0
        rate = self.images / self.whole_s if self.whole_s else 0.0
        return {"images": self.images, "model_ms": each, "images_per_s": rate}


def best(logits: Tensor, topk: int, labels: Labels) -> list[tuple[int, str | None, float]]:
    """Return the classes of the largest logits [classes], with their probabilities."""
    probabilities = logits.softmax(dim=0)
    indices = logits.topk(topk).indices.tolist()
    return [(i, labels[i] if labels else None, float(probabilities[i])) for i in indices]


def as_record(row: Row) -> dict[str, Any]:
    """Return what `Tally` reads of a row, as a journal keeps it."""
    top = [{"index": index} for index, _, _ in row.top]
    return {"path": row.path, "error": row.error, "topk": top, **row.more}


def folders_of(paths: Sequence[str], inputs: Inputs) -> list[str] | None:
    """Return the class folders; None where labels are not those of folders alone."""
    if not all(map(os.path.isdir, paths)):
        return None
    names: set[str] = set()
    for sample in dataclasses.replace(inputs, first=0, step=1):  # of all shards
        if not isinstance(sample.source, str):  # of a table or tar in the folder
            return None
        if isinstance(sample.label, str):
            names.add(sample.label)
    return sorted(names)


def identity(
    args: argparse.Namespace, model: Model, config: dict[str, Any], inputs: Inputs,
    target: Lookup,
) -> dict[str, Any]:  # fmt: skip
    """Return all that makes the rows what they are."""
    if isinstance(model, Res2NetModel):
        digest = hash_tensors({k: v.cpu() for k, v in model.state_dict().items()})
    else:
        digest = sha256_of(Path(args.model))
    return {
        "command": "validate", "model": args.model, "weights": digest, "dtype": str(model.dtype),
        "device": model.device.type, "backend": args.backend, "preprocessing": config,
        "labels": target.digest, "against": args.against, "--column": args.column,
        "inputs": inputs.digest, "shard": list(args.shard), "decode": args.decode,
    }  # fmt: skip
