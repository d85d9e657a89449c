"""This file lists models by name: it answers timm's questions, about the nine variants."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from ..config import PRETRAINED_TAG, VARIANTS

MODULE = "res2net"  # where timm keeps these variants
Filter = str | Iterable[str]


def list_models(
    filter: Filter = "",
    module: Filter = "",
    pretrained: bool = False,
    exclude_filters: Filter = "",
    name_matches_cfg: bool = False,
    include_tags: bool | None = None,
) -> list[str]:
    """List the names of the variants in natural order, as timm does.

    filter, exclude_filters: wildcards of fnmatch, one or several; a name is listed that fits any of
        the first (all do by default) and none of the second. Without a tag they fit any.
    module: timm's modules; the variants are all in "res2net".
    pretrained: those with published weights, which are all; under their tagged names.
    include_tags: whether names end in the tag ".in1k"; None: where pretrained is True.
    name_matches_cfg: of no effect here, where every name has a configuration.
    """
    modules = _patterns("module", module)
    if modules and MODULE not in modules:
        return []
    tagged = pretrained if include_tags is None else include_tags
    names = [f"{name}.{PRETRAINED_TAG}" for name in VARIANTS] if tagged else list(VARIANTS)
    wanted = _matching(names, _patterns("filter", filter) or ["*"], bool(tagged))
    refused = _matching(names, _patterns("exclude_filters", exclude_filters), bool(tagged))
    return [name for name in names if name in wanted and name not in refused]


def list_pretrained(filter: Filter = "", exclude_filters: Filter = "") -> list[str]:
    """List those with published weights under their tagged names, as `list_models` does."""
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters)


def is_model(model_name: str) -> bool:
    """Tell whether it is a variant's name, whatever its tag."""
    return _split(model_name)[0] in VARIANTS


def is_model_pretrained(model_name: str) -> bool:
    """Tell whether it is a variant's name, without a tag or with one of which there are weights."""
    base, dot, tag = _split(model_name)
    return base in VARIANTS and (not dot or tag == PRETRAINED_TAG)


def _split(model_name: str) -> tuple[str, str, str]:
    if not isinstance(model_name, str):
        raise TypeError(f"a model's name must be a str, got {type(model_name).__name__}")
    return model_name.partition(".")


def _patterns(argument: str, value: Filter) -> list[str]:
    if not value:
        return []
    if not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a str or several, got {value!r}")
    patterns = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"{argument} must be a str or several, got {value!r}")
    return patterns


def _matching(names: list[str], patterns: list[str], tagged: bool) -> set[str]:
    if tagged:
        split = (pattern.partition(".") for pattern in patterns)
        patterns = patterns + [f"{base}.*" for base, _, tag in split if not tag]
    return {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
