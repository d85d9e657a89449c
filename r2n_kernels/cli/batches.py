"""Classify and embed take images through a model into a file or a table, with progress."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..batch import BATCHES, BatchFunction, Columns, Feeding, Run, identity, ray_rows
from ..data import Batch
from ..results import Output, Row, check_names
from ..results import Run as Written
from ..sources import Inputs, Sample
from ..text import counted
from .progress import progress
from .terminal import say

THREADS = "--threads of torch"
Labels = Sequence[str] | None  # of the classes, in index order
Block = tuple[list[Row], np.ndarray | None]  # rows, and vectors [rows without an error, D]


class Work(Protocol):
    """Work makes rows of images. batch_size: what a block has, but for the last one."""

    batch_size: int
    identity: dict[str, Any]

    def blocks(self, samples: Iterable[Sample]) -> Generator[Block, None, None]:
        """Yield the rows of samples, in their order."""

    def told(self) -> str | None:
        """Return a sentence about what held the work up, if it is known."""


class LocalWork:
    """Local work runs a model in this process."""

    def __init__(
        self, run: Run, feeding: Feeding, block_of: Callable[[Batch, Tensor | None], Block],
        labels: Labels = None,
    ) -> None:  # fmt: skip
        """labels: of the classes, which rows have."""
        self.run, self.feeding, self.block_of = run, feeding, block_of
        self.batch_size = run.batch_size
        self.identity = rows_identity(run, feeding) | {"labels": _digest(labels)}
        backend, dtype = self.identity["backend"], self.identity["dtype"]
        dtype = "int8" if "quantization" in self.identity else dtype
        say(
            f"runs on {run.model.device}: {backend}, {dtype}, {counted(run.batch_size, 'image')}"
            f" at once; {feeding.decode} decoding"
        )

    def blocks(self, samples: Iterable[Sample]) -> Generator[Block, None, None]:
        with contextlib.closing(self.run.batches(samples, self.feeding)) as batches:
            for batch, found in batches:
                yield self.block_of(batch, found)

    def told(self) -> str | None:
        return self.run.clock.told()


class RayWork:
    """Ray's work is done by a cluster; a block is what an actor is handed at once."""

    def __init__(
        self, function: BatchFunction, address: str, block_of: Callable[[Columns], Block],
        labels: Labels = None,
    ) -> None:  # fmt: skip
        self.function, self.address, self.block_of = function, address, block_of
        run = function.run()  # here, too: what the rows depend on is known before they are made
        function.batch_size = run.batch_size  # of actors with other devices, too
        self.batch_size = BATCHES * run.batch_size
        where = {"device": function.device, "backend": function.backend, THREADS: None}
        self.identity = rows_identity(run, function.feeding) | {"labels": _digest(labels)} | where
        say(f"runs on Ray ({address}): {counted(run.batch_size, 'image')} at once per actor")

    def blocks(self, samples: Iterable[Sample]) -> Generator[Block, None, None]:
        rows = ray_rows(samples, self.function, address=self.address, block=self.batch_size)
        with contextlib.closing(rows):
            for columns in rows:
                yield self.block_of(columns)

    def told(self) -> str | None:
        return None


def rows_identity(run: Run, feeding: Feeding) -> dict[str, Any]:
    """Return what the rows of an image depend on, as JSON has it."""
    limits = dataclasses.asdict(feeding.limits) | {"pixels": feeding.limits.most_pixels}
    on_cpu = run.model.device.type == "cpu"  # where sums are in the order of its threads
    return {
        **identity(run.model, run.config), THREADS: torch.get_num_threads() if on_cpu else None,
        "decode": feeding.decode, "isolate": feeding.isolate,
        **{f"limit of {name}": most for name, most in limits.items()},
    }  # fmt: skip


def inputs_identity(args: argparse.Namespace, inputs: Inputs) -> dict[str, Any]:
    """Return which images these are, and for which command."""
    return {"command": args.command, "inputs": inputs.digest, "--column": args.column,
            "--shard": "{}/{}".format(*args.shard)}  # fmt: skip


def _digest(labels: Labels) -> str | None:
    return hashlib.sha256("\0".join(labels).encode()).hexdigest() if labels else None


def take(args: argparse.Namespace, inputs: Inputs, work: Work, output: Output | Written) -> int:
    """Take all images through the work into the output, and return the exit code."""
    made = work.identity | inputs_identity(args, inputs)
    start, ok, failed, lost = time.monotonic(), 0, 0, 0
    with contextlib.ExitStack() as stack:
        written: Written
        if isinstance(output, Output):
            begun = output.begin(made, resume=args.resume, batch_size=work.batch_size)
            written = stack.enter_context(begun)
        else:
            written = output
        earlier = written.rows
        lost = sum(record["error"] is not None for record in written.records())
        samples = left_of(inputs, written)
        total = None if inputs.count is None else inputs.count - earlier
        bar = stack.enter_context(progress(total, "img"))
        for rows, vectors in stack.enter_context(contextlib.closing(work.blocks(samples))):
            with bar.external_write_mode():
                written.write(rows, vectors)
                bar.update(len(rows))
            failed += sum(row.error is not None for row in rows)
            ok += sum(row.error is None for row in rows)
    return _summary(args, work, (ok, failed), (earlier, lost), time.monotonic() - start)


def left_of(inputs: Inputs, written: Written) -> Iterator[Sample]:
    """Return the samples whose rows are not there yet; a listing was compared by its digest.

    Raises ConfigError where standard input names others than those whose rows are there.
    """
    if inputs.digest is not None:
        return iter(inputs.skip(written.rows))
    samples = iter(inputs)
    check_names(written, (sample.name for sample in samples))
    return samples


def rows_of(batch: Batch, tops: Sequence[Any] = ()) -> list[Row]:
    """Return a batch's rows. tops: the best classes of each image that could be read."""
    found = chain(tops, iter(lambda: (), None))
    return [Row(item.path.name, item.error, next(found) if item.ok else ()) for item in batch.items]


def rows_from(columns: Columns, labels: Labels = None) -> list[Row]:
    """Return the rows of columns that a `BatchFunction` made, with the best classes if it has."""
    nothing: list[Any] = [[]] * len(columns["path"])
    indices = columns.get("top_index", nothing)
    values = columns.get("top_probability", nothing)
    tops = (
        [(i, labels[i] if labels else None, p) for i, p in zip(*top, strict=True)]
        for top in zip(indices, values, strict=True)
    )
    return [Row(*row) for row in zip(columns["path"], columns["error"], tops, strict=True)]


def good(columns: Columns, name: str) -> np.ndarray | None:
    """Return a column's vectors of the images that could be read; None without any."""
    found = columns[name][[status == "ok" for status in columns["status"]]]
    return found if len(found) else None


def _summary(
    args: argparse.Namespace, work: Work, now: tuple[int, int], earlier: tuple[int, int],
    seconds: float,
) -> int:  # fmt: skip
    """Print what was done on standard error, and give the exit code.

    now: images that are ok, and that failed; earlier: rows that were there, and those of them
    that failed.
    """
    (ok, failed), (kept, lost) = now, earlier
    before = f", after {counted(kept, 'row')} of an earlier run" if kept else ""
    into = f", in {args.output}" if args.output else ""
    if failed + lost and not ok + kept - lost:
        say(f"{counted(failed + lost, 'image')}: none could be read{into}")
        return 1
    if told := work.told():
        say(told)
    rate = (ok + failed) / seconds
    say(
        f"{counted(ok + failed, 'image')}: {ok} ok, {failed} failed, {rate:.1f} img/s{before}{into}"
    )
    return 1 if args.strict and failed + lost else 0
