"""Autotuned kernels: nothing can be timed here, so one configuration runs, or all are checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONFIGS = ("first", "all")


@contextmanager
def untimed(configs: str) -> Iterator[None]:
    """Run the first configuration that fits, or all with the first one last, in place of timing.

    Configurations that pruning leaves are taken in their order; one that does not compile, or asks
    for more than the device has, is passed over, as the autotuner does. Of "all", what the others
    write is seen by the checks and taken back, so that each meets what the host code prepared.
    """
    from triton.runtime.autotuner import Autotuner

    before = Autotuner.run

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("warmup"):
            return before(self, *args, **kwargs)
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        try:
            every = self.prune_configs(kwargs) if len(self.configs) > 1 else self.configs
            fitting = _fitting(self, every, args, kwargs)
            self.best_config = first = next(fitting)
            if configs == "all":
                kept = _contents([*args, *kwargs.values()])
                for config in fitting:
                    _launch(self, config, args, kwargs)
                    for storage, content in kept:
                        storage.copy_(content)
            return _launch(self, first, args, kwargs)
        finally:
            self.nargs = None

    Autotuner.run = run
    try:
        yield
    finally:
        Autotuner.run = before


def _fitting(tuner: Any, configs: Any, args: Any, kwargs: Any) -> Iterator[Any]:
    """Yield the configurations that compile and fit; raise the last one's error if none does."""
    from triton.compiler.errors import CompileTimeAssertionFailure
    from triton.runtime import errors

    refused = tuple(
        kind
        for kind in (
            errors.OutOfResources, CompileTimeAssertionFailure, getattr(errors, "PTXASError", None)
        )
        if kind is not None
    )  # fmt: skip
    found, last = False, None
    for config in configs:
        try:
            compiled = tuner.fn.run(*args, **kwargs | config.all_kwargs() | {"warmup": True})
            _ = compiled.run  # asks whether the device has what it needs
        except refused as error:
            last = error
        else:
            found = True
            yield config
    if not found and last is not None:
        raise last


def _launch(tuner: Any, config: Any, args: Any, kwargs: Any) -> Any:
    if config.pre_hook is not None:
        config.pre_hook({**tuner.nargs, **kwargs, **config.all_kwargs()})
    return tuner.fn.run(*args, **kwargs, **config.all_kwargs())


def _contents(values: Any) -> list[tuple[Any, Any]]:
    """Return the storage of every tensor, once, and what it holds; also those of descriptors."""
    found: dict[int, tuple[Any, Any]] = {}
    for value in values:
        if isinstance(value, (tuple, list)):
            found |= {storage.data_ptr(): (storage, kept) for storage, kept in _contents(value)}
        elif hasattr(value, "base"):  # a descriptor, or a tensor under another dtype
            value = value.base
        if hasattr(value, "untyped_storage"):
            storage = value.untyped_storage()
            found.setdefault(storage.data_ptr(), (storage, storage.clone()))
    return list(found.values())
