"""Accepted summaries lie on disk: JSON, one line per entry, so that a diff of it can be read.

{"schema": 1, "triton": "3.8.0", "targets": {
"sm_80": {
"plan b256": {"plan": {"launches": 104, ...}},
"layer3.1.conv1 b256 conv1 ...": {"compiled": {"registers": 170, ...}, "executed": {...}}
}
}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import ConfigError, RecordError
from ..files import replace_text
from ..kernels.targets import NVIDIA
from ..measure.checkout import source_tree
from ..strict_json import parse
from ..text import show
from .gate import RULES
from .inspection import Key
from .summary import Entry, Summary

SCHEMA = 1
GROUPS = ({"plan"}, {"compiled", "executed"})  # of an entry
HINT = "restore it, or move it away and write a new one: `r2n gate --update`"


@dataclass(frozen=True)
class Baseline:
    """It is what was accepted. triton: the version that compiled it. targets: a summary of each."""

    triton: str
    targets: Mapping[str, Summary]


def default_path() -> Path:
    """Return the file of the source tree. Raises ConfigError where the package is in none."""
    root = source_tree()
    if root is None:
        raise ConfigError("this package is not run from a checkout; name a file: --baseline FILE")
    return root / "benchmarks" / "baseline.json"


def read(path: Path) -> Baseline:
    """Read a baseline. Raises RecordError for one that is not there, damaged, foreign or empty."""
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"baseline {path} cannot be read: {error.strerror}; {HINT}") from error
    except UnicodeDecodeError as error:
        raise RecordError(f"baseline {path} is damaged: {error}; {HINT}") from error
    except ValueError as error:
        raise RecordError(f"baseline {path} is damaged: it {error}; {HINT}") from error
    try:
        return _checked(found)
    except RecordError as error:
        raise RecordError(f"baseline {path}: {error}; {HINT}") from error


def write(path: Path, targets: Mapping[str, Summary]) -> None:
    """Write summaries of the installed Triton. The file is replaced whole or not at all."""
    try:
        replace_text(path, text(Baseline(version("triton"), targets)))
    except OSError as error:
        raise ConfigError(f"baseline {path} cannot be written: {error.strerror}") from error


def text(baseline: Baseline) -> str:
    targets = ",\n".join(
        f"{json.dumps(target)}: {{\n"
        + ",\n".join(f"{json.dumps(str(key))}: {json.dumps(e)}" for key, e in summary.items())
        + "\n}"
        for target, summary in baseline.targets.items()
    )
    head = f'"schema": {SCHEMA}, "triton": {json.dumps(baseline.triton)}'
    return f'{{{head}, "targets": {{\n{targets}\n}}}}\n'


def _checked(found: Any) -> Baseline:
    """Return the file's content. Raises RecordError saying what is wrong."""
    if not isinstance(found, dict) or "schema" not in found:
        raise RecordError("has no 'schema', so it is no baseline of `r2n gate`")
    if found["schema"] != SCHEMA:
        raise RecordError(f"has schema {show(found['schema'])}, expected {SCHEMA}")
    triton, targets = found.get("triton"), found.get("targets")
    if not isinstance(triton, str):
        raise RecordError(f"'triton' must be a version, got {show(triton)}")
    if not (isinstance(targets, dict) and targets and all(targets.values())):
        raise RecordError("holds no target, or one without entries")
    if unknown := targets.keys() - set(NVIDIA):
        raise RecordError(f"has unknown target '{min(unknown)}'; known: {', '.join(NVIDIA)}")
    return Baseline(triton, {target: _summary(s, target) for target, s in targets.items()})


def _summary(found: Any, target: str) -> dict[Key, Entry]:
    summary = {}
    for name, entry in _object(found, target).items():
        try:
            summary[Key.parse(name)] = entry
        except ValueError as error:
            raise RecordError(f"{target}: '{name}' names neither a plan nor an instance") from error
        where = f"{target}, '{name}'"
        if _object(entry, where).keys() not in GROUPS:
            raise RecordError(f"{where}: expected a plan, or compiled and executed facts")
        for group, facts in entry.items():
            if odd := _object(facts, f"{where}, {group}").keys() ^ RULES[group].keys():
                odd_facts = ", ".join(sorted(odd))
                raise RecordError(f"{where}, {group}: lacks, or has unknown: {odd_facts}")
            for fact, value in facts.items():
                if not isinstance(value, str if fact == "code" else (int, float, type(None))):
                    raise RecordError(f"{where}: '{fact}' cannot be {show(value)}")
    return summary


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordError(f"{where} must be an object, got {show(value)}")
    return value
