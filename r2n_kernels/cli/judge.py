"""The images of `r2n validate` become rows; all needs torch."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..batch import Run, best
from ..data import Batch, target_of
from ..errors import ConfigError
from ..proof.accuracy import PEER_FIELDS, facts
from ..proof.timm_peer import TimmPeer, timm_network
from ..results import Row
from ..sources import Sample
from .batches import Block, LocalWork
from .bundled import expand
from .load import model_from
from .preprocessing import class_map_from, labels_from, prepare, preprocessing_from
from .reading import feeding_from
from .terminal import say


class Judge:
    """A Judge turns labelled images into rows: does a model, and does timm, name their class?"""

    def __init__(
        self, args: argparse.Namespace, folders: Sequence[str] | None, classes: Sequence[str] | None
    ) -> None:
        """folders, classes: what names a label may be, as `target_of` takes them."""
        self.args = args
        self.model = model = model_from(args)
        if model.num_classes == 0:
            raise ConfigError("this model has no classifier; there is nothing to count")
        if folders == ():
            raise ConfigError("no image has a label: it is the name of the subfolder that it is in")
        stated = dict(model.pretrained_cfg)
        prepare(args, model)
        self.labels = labels_from(args, model)
        self.topk = min(args.topk, model.num_classes)
        self.target, how = target_of(
            stated, model.num_classes, class_map_from(args), folders, classes
        )
        say(f"labels by {how}")
        self.peer = self._timm() if args.against else None

    def work(self) -> LocalWork:
        """Return what makes the rows."""
        run = Run(self.model, self.model, self.args.batch_size)
        work = LocalWork(run, feeding_from(self.args), self.block, self.labels)
        known = json.dumps(sorted(self.target.known.items()))
        work.identity |= {
            "against": self.peer and f"timm {self.peer.version}",
            "classes": hashlib.sha256(known.encode()).hexdigest(),
        }
        return work

    def block(self, batch: Batch, found: Tensor | None) -> Block:
        """Return the rows of a batch; found: the logits of its images that could be read."""
        samples = [item.path for item in batch.items if item.ok]
        compared = self.peer.judged(samples, found) if self.peer and found is not None else None
        place, rows = 0, []
        for item in batch.items:
            if item.ok and found is not None:
                theirs = compared[place] if compared else None
                rows.append(self.row(item.path, found[place], theirs))
                place += 1
            else:
                rows.append(self.failed(item.path, item.error or ""))
        return rows, None

    def row(self, sample: Sample, logits: Tensor, theirs: dict[str, Any] | None) -> Row:
        target, wrong = self.class_of(sample)
        if wrong is not None:
            return self.failed(sample, wrong)
        top = best(logits.softmax(0), self.topk, self.labels)
        return Row(sample.name, None, top, facts(sample.label, target, logits) | (theirs or {}))

    def failed(self, sample: Sample, reason: str) -> Row:
        theirs = dict.fromkeys(PEER_FIELDS) if self.peer else {}
        return Row(sample.name, reason, (), facts(sample.label, self.class_of(sample)[0]) | theirs)

    def class_of(self, sample: Sample) -> tuple[int | None, str | None]:
        """Return the class of a label, if there is one, or why it is none."""
        try:
            return None if sample.label is None else self.target(sample.label), None
        except ConfigError as error:
            return None, str(error)

    def _timm(self) -> TimmPeer:
        args, model = self.args, self.model
        network = timm_network(expand(args.model), args.weights, model.num_classes, model.in_chans)
        said = preprocessing_from(args, lambda: model.in_chans)
        return TimmPeer(network, said, model.dtype, model.device)
