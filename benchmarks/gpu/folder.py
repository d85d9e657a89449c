"""Each run has its own folder of results, with few files; a full disk does not end a run."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .process import Log

SUMMARY, RECORDS = "summary.txt", "records.jsonl"
PARTS, LOGS = "parts", "logs"  # while it runs; then archives
ARCHIVES = {"records.tgz": (RECORDS, PARTS), "logs.tgz": (LOGS,)}


def claim(path: Path) -> Path:
    """Take `path`, or a folder in it where an earlier run is there, or runs now. Raises OSError."""
    later = (path / f"run-{number}" for number in itertools.count(2))
    return next(filter(_claimed, itertools.chain((path,), later)))


def _claimed(path: Path) -> bool:
    path.mkdir(parents=True, exist_ok=True)
    try:
        (path / SUMMARY).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Folder:
    """A Folder takes a run's results. What cannot be written is reported once for each reason."""

    def __init__(self, path: Path) -> None:
        """Raise OSError where there is no room for the folder."""
        self.path, self.parts, self.logs = path, path / PARTS, path / LOGS
        self.records = path / RECORDS
        self._told: set[int | None] = set()
        for folder in (self.parts, self.logs):
            folder.mkdir(exist_ok=True)

    def tell(self, text: str = "") -> None:
        """Print on standard output; on standard error where that is gone or full."""
        try:
            print(text, flush=True)
        except OSError:
            print(text, file=sys.stderr, flush=True)

    def lost(self, name: str, error: OSError) -> None:
        if error.errno not in self._told:
            self._told.add(error.errno)
            self.tell(f"cannot write {name}: {error.strerror or error}; the run goes on without it")

    def log(self, name: str) -> Log:
        path = self.logs / f"{name}.log"
        path.unlink(missing_ok=True)
        return Log(path, self.lost)

    def save(self, name: str, text: str) -> None:
        try:
            write_text(self.path / name, text)
        except OSError as error:
            self.lost(name, error)

    def save_json(self, name: str, content: Any) -> None:
        self.save(f"{PARTS}/{name}", json.dumps(content, indent=1) + "\n")

    def pack(self) -> None:
        """Make two archives of many files: from some machines few files come back."""
        for name, members in ARCHIVES.items():
            try:
                archive(self.path / name, [self.path / member for member in members])
            except OSError as error:  # then the files stay as they are
                (self.path / name).unlink(missing_ok=True)
                self.lost(name, error)
                continue
            for member in members:
                if (self.path / member).is_dir():
                    shutil.rmtree(self.path / member)


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def archive(path: Path, members: Iterable[Path]) -> None:
    """Pack files, and those of folders, into one flat archive. Raises OSError."""
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            for each in sorted(member.iterdir()) if member.is_dir() else [member]:
                if each.is_file():
                    file.add(each, arcname=each.name)
