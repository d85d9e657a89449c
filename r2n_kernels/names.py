"""create_model takes these names: of a variant, or of a Hub repository or a folder; as timm's."""

from __future__ import annotations

import os
import re

from .errors import ConfigError, UnknownModelError
from .text import printable

HUB, FOLDER = "hf-hub", "local-dir"
BUNDLE = ".r2n"  # suffix of the files that `r2n build` writes
_SOURCES = {HUB: HUB, "hf_hub": HUB, FOLDER: FOLDER}  # the second is timm's older spelling
_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-_]+")  # two characters or more: C: is a drive


def split_source(text: str) -> tuple[str | None, str]:
    """Split into HUB or FOLDER, in any case, and what follows its colon; or (None, text)."""
    prefix, colon, rest = text.partition(":")
    source = _SOURCES.get(prefix.lower()) if colon else None
    return (None, text) if source is None else (source, rest)


def parse_model_name(name: str) -> tuple[str | None, str]:
    """Split what must be a model's name, as `split_source` does.

    Raises ConfigError for a prefix that is unknown or has nothing behind it, UnknownModelError for
    a path without one, TypeError for what is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"a model's name must be a str, got {type(name).__name__}")
    source, rest = split_source(name)
    if source is not None:
        if not rest:
            raise ConfigError(f"'{name}' names nothing behind '{source}:'")
        return source, rest
    shown = printable(name)
    prefix, colon, _ = name.partition(":")
    if colon and _PREFIX.fullmatch(prefix):
        raise ConfigError(
            f"unknown source '{prefix}' of model '{shown}'; expected one of {HUB}, {FOLDER}"
        )
    if any(mark in name for mark in "/\\:"):
        raise UnknownModelError(
            f"unknown model '{shown}'; a repository of the Hub would be '{HUB}:{shown}', a folder "
            f"'{FOLDER}:{shown}'"
        )
    return None, name


def is_bundle(name: object) -> bool:
    """Return whether a model's name is the path of a bundle, as `r2n build` writes it."""
    return isinstance(name, (str, os.PathLike)) and os.fspath(name).endswith(BUNDLE)
