"""Measurements lie in a JSONL file, one record per line; any number of processes append to it.

A line is an object with the fields of `Record` and "schema": 2. Those that older records and
records of the CPU lack come last.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import RecordError
from ..strict_json import is_number, parse
from ..text import show

SCHEMA = 2
SHORTEST, LONGEST = 1e-12, 1e9  # seconds of a call: beyond them no clock has been
NAME_FIELDS = ("subject", "model", "dtype", "layout", "backend", "scope", "time", "kernels")
BEGINNING = '{"schema": '
# How a word or a number of JSON begins, from where its parser no longer understands it
STUMP = re.compile(r"t|tr|tru|f|fa|fal|fals|n|nu|nul|-|[.eE]|[eE][+-]")
SIZES = {"batch": 1, "height": 1, "width": 1, "count": 1, "macs": 0}  # and the least of each
MAYBE = {  # or null
    "step": str, "bytes": int, "memory": int, "peak": Mapping, "bytes_l2": int, "commit": str,
    "run": str, "code": str, "versions": Mapping, "labels": Mapping, "branch": str,
    "pull_request": int,
}  # fmt: skip
LATER = (  # fields that a record may lack
    "wall", "host", "bytes_l2", "run", "code", "versions", "labels", "branch", "pull_request",
)  # fmt: skip
Rounds = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Record:
    """A Record is one measurement. Raises RecordError for a field of another kind."""

    subject: str  # what was timed: "r2n_kernels, torch", "timm eager, channels_last", ...
    model: str
    dtype: str
    layout: str
    backend: str
    batch: int
    height: int
    width: int
    scope: str  # what the time covers: of material.SCOPES, or "step"
    step: str | None  # of the plan, as "layer3.1.stage"; null for a whole network
    count: int  # how many steps of a forward pass are like it; 1 for a whole network
    macs: int  # useful multiply-accumulates of a call, all images of the batch; 0 of a pooling
    bytes: int | None  # that a call moves by the plan, weights included; null where no plan says
    memory: int | None  # peak bytes that the subject added; null: not measured
    # What the device can do per second: {"flops": 1e12, "bandwidth": 1e10, "source": "...",
    # "l2": 5e12}; "bandwidth" may be null, "l2" too or lacking.
    peak: Mapping[str, Any] | None
    machine: Mapping[str, Any]  # "cpu", "gpu", "driver", "threads" and versions of "torch", ...
    commit: str | None  # of the work tree; null outside of one
    dirty: bool  # whether the work tree was changed
    kernels: str  # hash of the kernels' sources
    time: str  # UTC, ISO 8601, to the second
    samples: Rounds  # a list per round, of seconds per call, in the order they were taken
    again: Rounds  # the same subject's from the same rounds once more: the noise (A/A); or []
    parity: Mapping[str, Any]  # {"passed": true, "error": 1e-6, "limit": 1e-5}, errors relative
    # of a GPU
    wall: Rounds | None = None  # as samples, by the wall clock: one call, until the GPU is done
    host: Rounds | None = None  # as wall, until the call returned: the host launches its work
    bytes_l2: int | None = None  # that a step moves between SMs and L2 by the plan
    # of any, since they are written
    run: str | None = None  # a word of its own for each process, which many records share
    code: str | None = None  # hash of all of this package's sources
    versions: Mapping[str, str] | None = None  # of the software that the subject runs on
    labels: Mapping[str, str] | None = None  # the user's: {"runner": "a"}; they say where
    branch: str | None = None
    pull_request: int | None = None

    def __post_init__(self) -> None:
        for name in NAME_FIELDS:
            if not isinstance(getattr(self, name), str):
                raise RecordError(f"'{name}' must be text, got {show(getattr(self, name))}")
        if not isinstance(self.dirty, bool):
            raise RecordError(f"'dirty' must be true or false, got {show(self.dirty)}")
        for name, least in SIZES.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise RecordError(
                    f"'{name}' must be a whole number from {least}, got {show(value)}"
                )
        for name, kind in MAYBE.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, kind) or value is True):
                raise RecordError(f"'{name}' must be null or {kind.__name__}, got {show(value)}")
        for name in ("machine", "parity"):
            if not isinstance(getattr(self, name), Mapping):
                raise RecordError(f"'{name}' must be an object, got {show(getattr(self, name))}")
        for name in ("versions", "labels"):
            for key, value in (getattr(self, name) or {}).items():
                if not (isinstance(key, str) and isinstance(value, str)):
                    raise RecordError(f"'{name}' must hold texts, got {show(key)}: {show(value)}")
        for name in ("samples", "again", "wall", "host"):
            value = getattr(self, name)
            if name not in LATER or value is not None:
                object.__setattr__(self, name, _rounds(name, value))
        if not self.samples:
            raise RecordError("'samples' is empty")
        if self.parity.get("passed") is not True:
            raise RecordError("'parity' must have passed: times of wrong outputs are not kept")

    @property
    def seconds(self) -> tuple[float, ...]:
        """Return every sample."""
        return tuple(second for a_round in self.samples for second in a_round)

    @property
    def medians(self) -> tuple[float, ...]:
        """Return the median of each round."""
        return tuple(map(statistics.median, self.samples))

    @property
    def median(self) -> float:
        """Return seconds per call: the median of the rounds' medians."""
        return statistics.median(self.medians)

    @property
    def again_medians(self) -> tuple[float, ...]:
        return tuple(map(statistics.median, self.again))

    def to_json(self) -> str:
        values = asdict(self)
        for name in LATER:
            if values[name] is None:  # as versions write it that do not know the field
                del values[name]
        return json.dumps({"schema": SCHEMA, **values}, allow_nan=False)

    @staticmethod
    def from_json(line: str) -> Record:
        """Read a line. Raises RecordError that names what is wrong with it."""
        try:
            found = parse(line)
        except ValueError as error:
            raise RecordError(str(error)) from error
        if not isinstance(found, dict) or "schema" not in found:
            raise RecordError("has no 'schema', so it is no record")
        if found.pop("schema") != SCHEMA:
            raise RecordError(f"has another schema than {SCHEMA}; read it with its own version")
        names = {field.name for field in fields(Record)}
        lacking = names - found.keys() - set(LATER)
        for what, odd in (("lacks", lacking), ("has unknown", found.keys() - names)):
            if odd:
                raise RecordError(f"{what} {', '.join(sorted(odd))}")
        return Record(**found)


def _rounds(name: str, values: Any) -> Rounds:
    if not isinstance(values, (list, tuple)):
        raise RecordError(f"'{name}' must be a list of lists, got {show(values)}")
    for a_round in values:
        if not isinstance(a_round, (list, tuple)) or not a_round:
            raise RecordError(f"'{name}' must hold lists of seconds, got {show(a_round)}")
        for value in a_round:
            if not (is_number(value) and SHORTEST <= value <= LONGEST):
                raise RecordError(
                    f"'{name}' must be seconds, from {SHORTEST} to {LONGEST:g}, got {show(value)}"
                )
    return tuple(tuple(map(float, a_round)) for a_round in values)


def append(path: Path, record: Record) -> None:
    """Add a line, whole or not at all; other processes may append meanwhile."""
    with open(path, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        torn = b""
        if end:
            file.seek(end - 1)
            torn = b"" if file.read(1) == b"\n" else b"\n"  # an earlier writer was killed
        file.write(torn + record.to_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class Records:
    """Records are what a file holds. torn: numbers of lines that a killed writer did not finish."""

    records: tuple[Record, ...]
    torn: tuple[int, ...]


def read(path: Path) -> Records:
    """Read a file. Raises RecordError that names file and line, if one is damaged or foreign.

    A line that breaks off in the middle of its JSON is what a killed writer leaves; it is passed
    over and listed in `torn`. The file is never changed.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: {error}") from error
    records, torn = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(Record.from_json(line))
        except RecordError as error:
            if not _is_torn(line):
                raise RecordError(f"{path}, line {number}: {error}") from error
            torn.append(number)
    if not records:
        raise RecordError(f"{path}: holds no record")
    return Records(tuple(records), tuple(torn))


def _is_torn(line: str) -> bool:
    """Tell whether a line begins as a record and just stops, in a value or between two."""
    if not line.startswith(BEGINNING):
        return BEGINNING.startswith(line)
    try:
        json.loads(line)
    except RecursionError:
        return False
    except json.JSONDecodeError as error:
        rest = line[error.pos :].strip()
        return "Unterminated" in error.msg or len(rest) < 2 or bool(STUMP.fullmatch(rest))
    except ValueError:  # an integer of thousands of digits
        return False
    return False
