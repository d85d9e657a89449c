"""Match the labels in webdataset's tar shards to their images."""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..errors import ImageError
from .files import reason_of
from .sample import Broken, Sample
from .tar_members import Unusable, content_of

LABELS = (".cls", ".json")
LABEL = 1 << 20  # bytes of one

Label = int | str | Broken | None


@dataclass
class Group:
    """A group is a sample of webdataset's: neighbours whose names are alike up to the first dot."""

    key: str
    images: list[tuple[str, Sample | None]] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)
    size: int = 0  # bytes held

    def take_label(self, name: str, label: Label) -> None:
        stem, suffix = posixpath.splitext(name)
        if suffix.lower() == ".cls" or stem not in self.labels:  # a .cls wins over a .json
            self.labels[stem] = label

    def samples(self) -> Iterator[Sample | None]:
        """Yield the images; one's own label, of x.left.cls, comes before that of the key, x."""
        for name, sample in self.images:
            stem = posixpath.splitext(name)[0]
            label = self.labels.get(stem, self.labels.get(self.key))
            if sample is None or label is None:
                yield sample
            elif isinstance(label, Broken):
                yield replace(sample, source=label)
            else:
                yield replace(sample, label=label)


def key_of(name: str) -> str:
    """Return what the names of one sample of webdataset's have in common: up to the first dot."""
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem


def label_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Label:
    """Return the integer or text of a .cls, or the "label" of a .json; Broken if it is neither."""
    try:
        text = content_of(tar, member, LABEL).decode("utf-8").strip()
        if member.name.lower().endswith(".cls"):
            return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text or None
        found = json.loads(text)
        label = found.get("label") if isinstance(found, dict) else None
        if label is None or type(label) in (int, str):
            return label
        reason = "neither an integer nor text"
    except Unusable as error:
        reason = str(error)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ImageError):  # the archive itself
            raise
        reason = reason_of(error)
    return Broken(f"its label, {posixpath.basename(member.name)!r}: {reason}")
