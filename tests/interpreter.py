"""Triton's interpreter is spared work that it does again and again, to the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import pytest


class Nothing:
    """It stands for changes that were made before: to restore it leaves them."""

    def restore(self) -> None:
        pass


@contextmanager
def quick() -> Iterator[None]:
    """Take a third of the time for whatever is interpreted."""
    from triton.runtime import interpreter

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(interpreter, "_patch_lang", patched_once(interpreter))
        builder = interpreter.interpreter_builder
        monkeypatch.setattr(builder, "options", without_vain_checks(builder.options))
        monkeypatch.setattr(interpreter, "_get_np_dtype", looked_up_once(interpreter))
        yield


def patched_once(interpreter: ModuleType) -> Callable[..., Any]:
    """Let a launch put the interpreter's functions into `triton.language`, and no call within it.

    Triton looks through all names of the language at each call of a device function, finds all of
    them replaced since the launch, and finds nothing to do: a quarter of a kernel's time.
    """
    from triton import language

    patch_lang = interpreter._patch_lang

    @cache
    def languages(fn: Callable[..., Any]) -> list[ModuleType]:
        return [
            m for m in (language, language.core) if any(m is v for v in fn.__globals__.values())
        ]

    def patch(fn: Callable[..., Any]) -> Any:
        new = [m for m in languages(fn) if language.core.is_builtin(m.load)]
        return patch_lang(fn) if new else Nothing()

    return patch


def without_vain_checks(options: Any) -> Any:
    """Compute no sum in 64 bits too, to assert that it fits into 32: outside of debugging, Triton
    drops each such assertion once its condition is computed, half of a kernel's time."""
    return options if options.debug else dataclasses.replace(options, sanitize_overflow=False)


def looked_up_once(interpreter: ModuleType) -> Callable[[Any], Any]:
    """Make the table of all dtypes once per dtype, not once per operation."""
    make, known = interpreter._get_np_dtype, {}

    def look_up(kind: Any) -> Any:
        scalar = kind.scalar
        if scalar.name not in known:
            known[scalar.name] = make(scalar)
        return known[scalar.name]

    return look_up
