"""Actors that may die do blocks of images, and a pool of them loses none and doubles none.

A block's rows are taken once, when all of it is done. The pool itself replaces an actor that died
and does its blocks again on others: Ray's own restarts would wait for the place that was lost.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..errors import R2NError
from ..text import printable
from .callables import BatchFunction
from .columns import Columns

RETRIES = 5  # times that a block may take an actor down, and that none starts


class Actor:
    """An actor holds a function, and with it a model, in a process of the cluster."""

    def __init__(self, function: BatchFunction, workers: int) -> None:
        self.function = function
        # it is this process's own copy
        function.feeding = dataclasses.replace(function.feeding, workers=workers)

    def batch_size(self) -> int:
        """Make the model, and return how many images it takes at once."""
        return self.function.run().batch_size

    def rows(self, columns: Columns) -> Columns:
        return self.function(columns)


@dataclass
class Block:
    """A block was given to an actor, and its rows are a promise."""

    columns: Columns
    actor: Any
    promise: Any
    deaths: int = 0


class Pool:
    """A pool gives blocks to the ready actor with the least to do; rows come in their order."""

    def __init__(self, ray: ModuleType, make: Callable[[], Any], count: int) -> None:
        """make: starts an actor. count: of these are kept."""
        self.ray, self.make = ray, make
        self.starting: dict[Any, Any] = {}  # the promise of its batch size -> actor
        self.ready: list[Any] = []
        self.waiting: deque[Block] = deque()
        self.failed = 0  # starts since one succeeded
        self.size = 0
        for _ in range(count):
            self._start()

    def batch_size(self) -> int:
        """Wait for an actor, and return its batch size. Raises what its model's making raised."""
        while not self.ready:
            self._settle(None)
        return self.size

    def rows(self, blocks: Iterable[Columns], ahead: int) -> Iterator[Columns]:
        """Yield the rows of blocks in order, so many blocks read ahead."""
        source = iter(blocks)
        for columns in itertools.islice(source, ahead):
            self._submit(columns)
        while self.waiting:
            found = self._next()
            for columns in itertools.islice(source, 1):
                self._submit(columns)
            yield found

    def close(self) -> None:
        """End the actors."""
        for actor in (*self.ready, *self.starting.values()):
            self.ray.kill(actor)

    def _start(self) -> None:
        actor = self.make()
        self.starting[actor.batch_size.remote()] = actor

    def _settle(self, timeout: float | None) -> None:
        """Take in actors that have started: those there are, or wait for one (timeout None)."""
        if not self.starting:
            return
        promises = list(self.starting)
        count = 1 if timeout is None else len(promises)
        for promise in self.ray.wait(promises, num_returns=count, timeout=timeout)[0]:
            actor = self.starting.pop(promise)
            try:
                self.size = self._get(promise)
            except self.ray.exceptions.RayActorError as error:
                self.failed += 1
                if self.failed > RETRIES:
                    raise R2NError(f"no actor starts: {error}") from error
                self._start()
            else:
                self.ready.append(actor)
                self.failed = 0

    def _get(self, promise: Any) -> Any:
        """Return what an actor made. Raises what it raised, as itself where that is ours."""
        try:
            return self.ray.get(promise)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, R2NError):
                raise error.cause from error
            raise

    def _submit(self, columns: Columns) -> None:
        actor = self._idlest()
        self.waiting.append(Block(columns, actor, actor.rows.remote(columns)))

    def _idlest(self) -> Any:
        """Return the ready actor with the fewest blocks to do; wait until there is one."""
        self._settle(0)
        self.batch_size()
        promises = [block.promise for block in self.waiting]
        open_ = set(promises)
        if promises:
            open_ = set(self.ray.wait(promises, num_returns=len(promises), timeout=0)[1])
        busy = [block.actor for block in self.waiting if block.promise in open_]
        return min(self.ready, key=busy.count)

    def _next(self) -> Columns:
        """Wait for the oldest block, done again where its actor died, or its rows were lost."""
        lost = (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError)
        block = self.waiting[0]
        while True:
            try:
                found = self._get(block.promise)
            except lost as error:
                block.deaths += 1
                if block.deaths > RETRIES:
                    first, last = (printable(block.columns["path"][i]) for i in (0, -1))
                    raise R2NError(
                        f"{block.deaths} actors died of the images from '{first}' to '{last}': "
                        f"{error}"
                    ) from error
                self._again(block.actor)
            else:
                self.waiting.popleft()
                return found

    def _again(self, dead: Any) -> None:
        """Replace an actor, and give its blocks to others."""
        if dead in self.ready:
            self.ready.remove(dead)
            self._start()
        for block in self.waiting:
            if block.actor is dead:
                block.actor = self._idlest()
                block.promise = block.actor.rows.remote(block.columns)
