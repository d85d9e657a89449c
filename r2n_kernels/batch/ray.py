"""A Ray cluster runs blocks of images in actors, and hands the rows back in input order.

Whoever consumes them writes as if one machine had made them. An actor that dies is started again
with its blocks, and a block has rows only when all of it is done: none is lost or doubled.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, Protocol

from ..errors import ConfigError, R2NError
from ..extras import load
from .callables import BatchFunction
from .columns import Columns

LOCAL = "local"
AHEAD = 2  # blocks per actor that are under way or wait for the consumer
RETRIES = 5  # times that a block may take its actor down
BATCHES = 8  # per block: a message for each image would cost more than the image
READERS = 16  # threads that read files for ship_bytes


class Named(Protocol):
    """It is one input: its row's name, and what is read, as column "source" takes it."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> Any: ...


def ray_rows(
    samples: Iterable[Named], function: BatchFunction, *, address: str = LOCAL,
    actors: int | None = None, cpus_per_actor: float = 1, gpus_per_actor: float | None = None,
    block: int | None = None, ship_bytes: bool = False,
) -> Generator[Columns, None, None]:  # fmt: skip
    """Yield the rows of samples, in input order: blocks of columns "path" and what `function` adds.

    address: "local" starts Ray here and ends it; "auto" or "ray://host:port" is a cluster, whose
    machines have this package. actors: by default as many as the cluster has GPUs, or CPUs, for.
    gpus_per_actor: 1 by default where the cluster has GPUs and the function may use them.
    block: rows that are handed to an actor at once, rounded up to whole batches, so that rows have
    the same bits as on one machine. ship_bytes: read files here, where the actors cannot; a path
    that an actor does not find is a row with an error. At most AHEAD blocks per actor are read
    ahead of the consumer. Close it when leaving early, which ends the actors.

    Raises ConfigError without Ray, or where the cluster is not found or too small, R2NError for a
    block that took its actor down more than RETRIES times, and what `function` raises.
    """
    ray = load("ray", "ray", "running on a Ray cluster")
    if actors is not None and actors < 1:
        raise ConfigError(f"actors must be at least 1, got {actors}")
    with _session(ray, address):
        total = ray.cluster_resources()
        if gpus_per_actor is None:
            gpus_per_actor = 1 if total.get("GPU") and function.device != "cpu" else 0
        count = actors or _room(total, cpus_per_actor, gpus_per_actor)
        actor = ray.remote(
            num_cpus=cpus_per_actor, num_gpus=gpus_per_actor, max_restarts=-1,
            max_task_retries=RETRIES,
        )(_Actor)  # fmt: skip
        pool = _Pool(ray, [actor.remote(function) for _ in range(count)])
        try:
            size = _whole(block, ray.get(pool.actors[0].batch_size.remote()))
            blocks = _blocks(samples, size, ship_bytes)
            for columns in itertools.islice(blocks, AHEAD * count):
                pool.submit(columns)
            while pool.waiting:
                found = pool.next()
                for columns in itertools.islice(blocks, 1):
                    pool.submit(columns)
                yield found
        finally:
            pool.close()


class _Actor:
    """It holds the function, and with it the model, in a process of the cluster."""

    def __init__(self, function: BatchFunction) -> None:
        self.function = function

    def batch_size(self) -> int:
        return self.function.run().batch_size

    def rows(self, columns: Columns) -> Columns:
        return self.function(columns)


class _Pool:
    """It gives blocks to the actor with the least to do, and takes rows in the order of blocks."""

    def __init__(self, ray: ModuleType, actors: Sequence[Any]) -> None:
        self.ray, self.actors = ray, actors
        self.waiting: deque[tuple[Any, int, Columns]] = deque()  # reference, actor, block

    def submit(self, columns: Columns) -> None:
        references = [reference for reference, *_ in self.waiting]
        done = set(self._done(references))
        busy = [0] * len(self.actors)
        for reference, number, _ in self.waiting:
            busy[number] += reference not in done
        number = busy.index(min(busy))
        reference = self.actors[number].rows.remote(columns)
        self.waiting.append((reference, number, {"path": columns["path"]}))

    def _done(self, references: list[Any]) -> list[Any]:
        if not references:
            return []
        return self.ray.wait(references, num_returns=len(references), timeout=0)[0]

    def next(self) -> Columns:
        reference, _, block = self.waiting.popleft()
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, R2NError) else error from None
        except self.ray.exceptions.RayActorError as error:
            first, last = block["path"][0], block["path"][-1]
            raise R2NError(
                f"an actor died {RETRIES + 1} times with the images from {first!r} to {last!r}, "
                f"or could not start: {error}"
            ) from error

    def close(self) -> None:
        for actor in self.actors:
            self.ray.kill(actor)


@contextlib.contextmanager
def _session(ray: ModuleType, address: str) -> Iterator[None]:
    """Connect to Ray for a while; who is connected already stays so."""
    if ray.is_initialized():
        yield
        return
    if address == LOCAL:
        # nothing is sent to anybody without being asked; Ray's processes inherit it
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address=LOCAL, include_dashboard=False)
    else:
        try:
            ray.init(address=address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"no Ray cluster at '{address}': {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _room(total: dict[str, float], cpus: float, gpus: float) -> int:
    """Return how many actors find room. Raises ConfigError if none does."""
    needs = {"CPU": cpus, "GPU": gpus}
    count = min(int(total.get(kind, 0) / need) for kind, need in needs.items() if need)
    if count < 1:
        had = ", ".join(f"{total.get(kind, 0):g} {kind}" for kind in needs)
        raise ConfigError(f"an actor needs {cpus:g} CPU and {gpus:g} GPU; the cluster has {had}")
    return count


def _whole(block: int | None, batch: int) -> int:
    """Return the rows of a block: whole batches."""
    return -(-(block or BATCHES * batch) // batch) * batch


def _blocks(samples: Iterable[Named], size: int, ship_bytes: bool) -> Iterator[Columns]:
    """Cut samples into columns; with ship_bytes of what was read here."""
    every = iter(samples)
    with ThreadPoolExecutor(READERS, thread_name_prefix="r2n-ship") as readers:
        while some := list(itertools.islice(every, size)):
            sources = [sample.source for sample in some]
            if ship_bytes:
                sources = list(readers.map(_shipped, sources))
            yield {"path": [sample.name for sample in some], "source": sources}


def _shipped(source: Any) -> Any:
    """Read a regular file; what cannot be read stays, and whoever decodes it says why."""
    if not isinstance(source, (str, os.PathLike)) or not os.path.isfile(source):
        return source
    try:
        with open(source, "rb") as file:
            return file.read()
    except OSError:
        return source
