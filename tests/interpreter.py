"""Triton's interpreter is spared work that it does again at every call of a device function."""

from __future__ import annotations

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
def patched_once() -> Iterator[None]:
    """Let a launch put the interpreter's functions into `triton.language`, and no call within it.

    Triton looks through all names of the language at each call of a device function, finds all of
    them replaced since the launch, and finds nothing to do: a quarter of a kernel's time.
    """
    from triton import language
    from triton.runtime import interpreter

    patch_lang = interpreter._patch_lang

    @cache
    def languages(fn: Callable[..., Any]) -> list[ModuleType]:
        return [
            m for m in (language, language.core) if any(m is v for v in fn.__globals__.values())
        ]

    def patch(fn: Callable[..., Any]) -> Any:
        new = [m for m in languages(fn) if language.core.is_builtin(m.load)]
        return patch_lang(fn) if new else Nothing()

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(interpreter, "_patch_lang", patch)
        yield
