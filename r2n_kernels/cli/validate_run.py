"""A labelled set runs through a model, and through timm where it is asked, row by row."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..batch import Feeding, parts
from ..batch import Run as ModelRun
from ..data import Batch, ImageBatches
from ..data.targets import Target
from ..errors import ConfigError
from ..proof.accuracy import Tally, compared, judged
from ..proof.timm_peer import TimmPeer
from ..results import Row, Run
from ..sources import Inputs, Sample
from .batches import Labels, left_of
from .bundled import expand
from .preprocessing import preprocessing_from
from .progress import progress


class ValidateRun:
    """A ValidateRun makes a row per image, in input order, and counts it."""

    def __init__(
        self, args: argparse.Namespace, model_run: ModelRun, inputs: Inputs, target: Target,
        labels: Labels, feeding: Feeding,
    ) -> None:  # fmt: skip
        """Load timm's model where it is compared with; `model_run` makes logits.

        Raises TimmPeer's ConfigError.
        """
        self.model_run, self.inputs, self.target, self.labels = model_run, inputs, target, labels
        model = model_run.model
        self.feeding, self.topk = feeding, min(args.topk, model.num_classes)
        self.peer: TimmPeer | None = None
        if args.against:
            self.peer = TimmPeer(
                expand(args.model), args.weights, model.num_classes,
                preprocessing_from(args, model.in_chans), model.dtype, model.device,
            )  # fmt: skip
        self.whole_s = 0.0

    def run(self, sink: Run | None) -> Tally:
        """Count what an earlier run has kept, then the other images; all rows go to the sink."""
        tally, done = Tally(self.model_run.model.dtype), 0
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
        if self.peer is None:
            with contextlib.closing(self.model_run.batches(samples, self.feeding)) as found:
                for batch, logits in found:
                    yield self.rows(batch, logits)
            return
        run, how = self.model_run, self.feeding
        with ImageBatches(
            samples, self.prepared, run.batch_size, how.workers, run.transform.mode,
            limits=how.limits,
        ) as batches:  # fmt: skip
            for batch in batches:
                images = batch.images
                logits = None if images is None else self.logits(images[:, 0])
                yield self.rows(batch, logits, None if images is None else images[:, 1])

    def prepared(self, image: Image.Image) -> Tensor:
        """Return an image with timm's own transform of it behind, [2, C, H, W]."""
        assert self.peer is not None
        return torch.stack([self.model_run.transform(image), self.peer.transform(image)])

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of images [n, C, H, W], float32 on the CPU."""
        run, start = self.model_run, time.monotonic()
        x = images.to(run.model.device, run.model.dtype)
        found = torch.cat([run.apply(part)[:n].cpu() for part, n in parts(x, run.cuts)])
        run.clock.model += time.monotonic() - start
        run.clock.count += len(found)
        return found

    def rows(self, batch: Batch, logits: Tensor | None, theirs: Tensor | None = None) -> list[Row]:
        """Return a batch's rows. theirs: the images as timm prepared them."""
        outputs = zip(*self.beside(logits, theirs), strict=True)
        found = []
        for item in batch.items:
            one, beside = next(outputs) if item.ok else (None, {})
            found.append(self.row(item.path, item.error, one, beside))
        return found

    def beside(
        self, logits: Tensor | None, theirs: Tensor | None
    ) -> tuple[Sequence[Tensor], Sequence[dict[str, Any]]]:
        """Return the logits of each image, and how they compare with timm's."""
        ours = [] if logits is None else list(logits)
        if self.peer is None or theirs is None:
            return ours, [{} for _ in ours]
        rounded, truth = self.peer(theirs)
        return ours, [
            compared(one, ([other[place] for other in rounded], truth[place]))
            for place, one in enumerate(ours)
        ]

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
        clock = self.model_run.clock
        each = 1e3 * clock.model / clock.count if clock.count else 0.0
        rate = clock.count / self.whole_s if self.whole_s else 0.0
        return {"images": clock.count, "model_ms": each, "images_per_s": rate}


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
