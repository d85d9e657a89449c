"""A Ray cluster runs blocks of images in actors, and hands the rows back in input order.

Whoever consumes the rows writes them as if one machine had made them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, Protocol

from ..errors import ConfigError
from ..extras import load
from .callables import BatchFunction
from .columns import Columns
from .ray_pool import Actor, Pool

LOCAL = "local"
AHEAD = 2  # blocks per actor that are under way or wait for the consumer
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
    actors: int | None = None, cpus_per_actor: float | None = None,
    gpus_per_actor: float | None = None, block: int | None = None, ship_bytes: bool = False,
) -> Generator[Columns, None, None]:  # fmt: skip
    """Yield the rows of samples, in input order: blocks of columns "path" and what `function` adds.

    address: "local" starts Ray here and ends it; "auto" or "ray://host:port" is a cluster, whose
    machines have this package. actors: by default as many as the cluster has room for now.
    gpus_per_actor: 1 by default where the cluster has GPUs and the function may use them.
    cpus_per_actor: 1 by default, or a GPU's share of them; as many threads decode, if `function`
    does not say. block: rows that an actor gets at once, rounded up to whole batches, so that rows
    have the same bits as on one machine. ship_bytes: read files here, where the actors cannot; a
    path that an actor does not find is a row with an error.

    An actor that dies is replaced, and its blocks are done again: no row is lost or doubled. At
    most AHEAD blocks per actor are read ahead of the consumer. Close it when leaving early, which
    ends the actors.

    Raises ConfigError without Ray, or where the cluster is not found or too small, R2NError where
    actors die of one block, or at their start, again and again, and what `function` raises.
    """
    ray = load("ray", "ray", "running on a Ray cluster")
    if actors is not None and actors < 1:
        raise ConfigError(f"actors must be at least 1, got {actors}")
    with _session(ray, address):
        total = ray.cluster_resources()
        cpus, gpus = shares(total, function.device, cpus_per_actor, gpus_per_actor)
        count = actors or room(total, cpus, gpus)
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(Actor)
        workers = function.feeding.workers or max(1, int(cpus))
        with contextlib.closing(Pool(ray, lambda: remote.remote(function, workers), count)) as pool:
            size = whole(block, pool.batch_size())
            with contextlib.closing(blocks_of(samples, size, ship_bytes)) as blocks:
                yield from pool.rows(blocks, AHEAD * count)


@contextlib.contextmanager
def _session(ray: ModuleType, address: str) -> Iterator[None]:
    """Connect to Ray for a while; who is connected already stays so."""
    if ray.is_initialized():
        yield
        return
    stopping = signal.getsignal(signal.SIGTERM)
    if address == LOCAL:
        # nothing is sent to anybody without being asked; Ray's processes inherit it
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address=LOCAL, include_dashboard=False)
    else:
        try:
            ray.init(address=address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"no Ray cluster at '{address}': {error}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stopping)  # Ray put its own there
    try:
        yield
    finally:
        ray.shutdown()


def shares(
    total: Mapping[str, float], device: str, cpus: float | None, gpus: float | None
) -> tuple[float, float]:
    """Return the CPUs and GPUs of an actor, where they are not given."""
    if gpus is None:
        gpus = 1 if total.get("GPU") and device != "cpu" else 0
    if cpus is None:
        cpus = max(1, total.get("CPU", 0) * gpus // total["GPU"]) if gpus else 1
    return cpus, gpus


def room(total: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many actors find room. Raises ConfigError if none does."""
    needs = {"CPU": cpus, "GPU": gpus}
    count = min((int(total.get(kind, 0) / need) for kind, need in needs.items() if need), default=1)
    if count < 1:
        has = ", ".join(f"{total.get(kind, 0):g} {kind}" for kind in needs)
        raise ConfigError(f"an actor needs {cpus:g} CPU and {gpus:g} GPU; the cluster has {has}")
    return count


def whole(block: int | None, batch: int) -> int:
    """Return the rows of a block: whole batches."""
    return -(-(block or BATCHES * batch) // batch) * batch


def blocks_of(
    samples: Iterable[Named], size: int, ship_bytes: bool
) -> Generator[Columns, None, None]:
    """Cut samples into columns; with ship_bytes of what was read here."""
    every = iter(samples)
    with ThreadPoolExecutor(READERS, thread_name_prefix="r2n-ship") as readers:
        while some := list(itertools.islice(every, size)):
            sources = [_absolute(sample.source) for sample in some]
            if ship_bytes:
                sources = list(readers.map(_shipped, sources))
            yield {"path": [sample.name for sample in some], "source": sources}


def _absolute(source: Any) -> Any:
    """Return what an actor finds from any folder."""
    return os.path.abspath(source) if isinstance(source, (str, os.PathLike)) else source


def _shipped(source: Any) -> Any:
    """Read a regular file; what cannot be read stays, and whoever decodes it says why."""
    if not isinstance(source, str) or not os.path.isfile(source):
        return source
    try:
        with open(source, "rb") as file:
            return file.read()
    except OSError:
        return source
