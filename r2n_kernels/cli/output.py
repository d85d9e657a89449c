"""Commands write these reports for machines: JSON and JUnit's XML."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import ConfigError
from ..files import place_of, replace_bytes, replace_text


@dataclass(frozen=True)
class Case:
    """CI shows a case as one test. failure, error: why the verdict is no, or why there is none."""

    name: str
    failure: str | None = None
    error: str | None = None


def check_output(option: str, file: str | None, inputs: Iterable[str | None] = ()) -> None:
    """Raise ConfigError, before the work, where the file could not be put, or is an input."""
    if file and file != "-":
        try:
            place_of(file, filter(None, inputs))
        except OSError as error:
            raise ConfigError(f"{option} {file!r}: {error.strerror}") from error


def make_folder(option: str, path: str) -> Path:
    """Return the folder, made if it is not there. Raises ConfigError."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{option} {path!r}: {error.strerror}") from error
    return folder


def write_json(file: str, document: Any) -> None:
    """Write a document into a file, whole or not at all; - is standard output."""
    text = json.dumps(document, indent=1) + "\n"
    if file == "-":
        sys.stdout.write(text)
    else:
        replace_text(file, text)


def write_junit(file: str, suite: str, cases: Sequence[Case]) -> None:
    failures = sum(case.failure is not None for case in cases)
    errors = sum(case.error is not None for case in cases)
    root = ElementTree.Element(
        "testsuite", name=suite, tests=str(len(cases)), failures=str(failures), errors=str(errors)
    )
    for case in cases:
        element = ElementTree.SubElement(root, "testcase", classname="r2n", name=_xml(case.name))
        for kind, message in (("failure", case.failure), ("error", case.error)):
            if message is not None:
                ElementTree.SubElement(element, kind, message=_xml(message))
    replace_bytes(file, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _xml(text: str) -> str:
    """Write what XML 1.0 cannot hold, as control characters and lone surrogates, as escapes."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", _escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
