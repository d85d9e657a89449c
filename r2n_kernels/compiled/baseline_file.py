"""The accepted summaries on disk: JSON, a line an entry, so that a diff of it can be read.

{"schema": 1, "triton": "3.8.0", "targets": {
"sm_80": {
"plan b256": {"plan": {"launches": 104, ...}},
"layer3.1.conv1 b256 conv1 ...": {"compiled": {"registers": 170, ...}, "executed": {...}}
}
}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import ConfigError, RecordError
from ..files import replace_text
from .baseline import NVIDIA, Summary
from .changes import RULES

SCHEMA = 1
NAME = re.compile(r"\S+ b\d+(,\d+)*( \S+)*")
GROUPS = ({"plan"}, {"compiled", "executed"})  # of an entry
HINT = "restore it, or move it away and write a new one: `r2n gate --update`"
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Baseline:
    """triton: the version that compiled it. targets: what was accepted on each."""

    triton: str
    targets: Mapping[str, Summary]


def default_path() -> Path:
    """Of the checkout that this package is run from. Raises ConfigError where it is in none."""
    folder = CHECKOUT / "benchmarks"
    if not folder.is_dir():
        raise ConfigError("this package is not run from a checkout; name a file: --baseline FILE")
    return folder / "baseline.json"


def read(path: Path) -> Baseline:
    """Raises RecordError for a file that is not there, damaged, foreign or empty."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"baseline {path} cannot be read: {error.strerror}; {HINT}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise RecordError(f"baseline {path} is damaged: {error}; {HINT}") from error
    try:
        return _checked(found)
    except RecordError as error:
        raise RecordError(f"baseline {path}: {error}; {HINT}") from error


def write(path: Path, targets: Mapping[str, Summary]) -> None:
    """As compiled by the installed Triton. A file is replaced whole or not at all."""
    try:
        replace_text(path, text(Baseline(version("triton"), targets)))
    except OSError as error:
        raise ConfigError(f"baseline {path} cannot be written: {error.strerror}") from error


def text(baseline: Baseline) -> str:
    targets = ",\n".join(
        f"{json.dumps(target)}: {{\n"
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in summary.items())
        + "\n}"
        for target, summary in baseline.targets.items()
    )
    head = f'"schema": {SCHEMA}, "triton": {json.dumps(baseline.triton)}'
    return f'{{{head}, "targets": {{\n{targets}\n}}}}\n'


def _checked(found: Any) -> Baseline:
    """Raises RecordError saying what is wrong."""
    if not isinstance(found, dict) or "schema" not in found:
        raise RecordError("has no 'schema', so it is no baseline of `r2n gate`")
    if found["schema"] != SCHEMA:
        raise RecordError(f"has schema {found['schema']!r}, expected {SCHEMA}")
    triton, targets = found.get("triton"), found.get("targets")
    if not isinstance(triton, str):
        raise RecordError(f"'triton' must be a version, got {triton!r}")
    if not (isinstance(targets, dict) and targets and all(targets.values())):
        raise RecordError("holds no target, or one without entries")
    for target, summary in targets.items():
        if target not in NVIDIA:
            raise RecordError(f"has unknown target '{target}'; known: {', '.join(NVIDIA)}")
        for name, entry in _object(summary, target).items():
            if not NAME.fullmatch(name):
                raise RecordError(f"{target}: '{name}' names neither a plan nor an instance")
            _check_entry(entry, f"{target}, '{name}'")
    return Baseline(triton, targets)


def _check_entry(entry: Any, where: str) -> None:
    if _object(entry, where).keys() not in GROUPS:
        raise RecordError(f"{where}: expected a plan, or compiled and executed facts")
    for group, facts in entry.items():
        odd = _object(facts, f"{where}, {group}").keys() ^ RULES[group].keys()
        if odd:
            raise RecordError(f"{where}, {group}: lacks, or has unknown: {', '.join(sorted(odd))}")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordError(f"{where} must be an object, got {value!r}")
    return value
