"""Commands write these reports for machines: JSON and JUnit's XML."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import ConfigError


@dataclass(frozen=True)
class Case:
    """CI shows a case as one test. failure, error: why the verdict is no, or why there is none."""

    name: str
    failure: str | None = None
    error: str | None = None


def check_folder(option: str, file: str | None) -> None:
    """Raise ConfigError, before the work, where the file could not be put."""
    if file and not Path(file).absolute().parent.is_dir():
        raise ConfigError(f"{option} {file!r}: there is no such folder")


def write_json(file: str, document: Any) -> None:
    """Write a document into a file; - is standard output."""
    text = json.dumps(document, indent=1) + "\n"
    if file == "-":
        sys.stdout.write(text)
    else:
        Path(file).write_text(text, encoding="utf-8")


def write_junit(file: str, suite: str, cases: Sequence[Case]) -> None:
    failures = sum(case.failure is not None for case in cases)
    errors = sum(case.error is not None for case in cases)
    root = ElementTree.Element(
        "testsuite", name=suite, tests=str(len(cases)), failures=str(failures), errors=str(errors)
    )
    for case in cases:
        element = ElementTree.SubElement(root, "testcase", classname="r2n", name=case.name)
        for kind, message in (("failure", case.failure), ("error", case.error)):
            if message is not None:
                ElementTree.SubElement(element, kind, message=message)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
