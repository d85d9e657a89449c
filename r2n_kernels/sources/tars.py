"""Read the images of tar shards in webdataset's layout, as a stream, into memory one by one."""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ConfigError, ImageError
from .files import MOST, failing_as, protocol_of
from .parts import Samples
from .paths import is_image
from .sample import Broken, Sample
from .tar_labels import LABELS, Group, key_of, label_of
from .tar_members import Unusable, content_of, members_of, open_tar

SUFFIXES = (".tar", ".tar.gz", ".tgz")


@dataclass
class Tar:
    """A Tar yields its images in the members' order.

    If labels are wanted, a `.cls` or `.json` of an image's key is its label. Where the archive is
    damaged, one Broken sample of the archive's name is the last.
    """

    name: str
    labelled: bool
    count: None = None

    def check(self) -> None:
        """Read the first header of a local archive. Raises ConfigError."""
        if protocol_of(self.name) is not None:
            return
        with failing_as(ConfigError, f"{self.name!r}: "):
            regular = stat.S_ISREG(os.stat(self.name).st_mode)
        if regular:  # what a pipe gave would be lost
            with open_tar(self.name, ConfigError, f"{self.name!r}: "):
                pass

    def samples(self, first: int, step: int) -> Samples:
        index = 0
        reason = "no image in the archive"
        images = self._labelled if self.labelled else self._unlabelled
        picked = range(first, sys.maxsize, step)
        try:
            with open_tar(self.name, ImageError) as tar:
                for sample in images(tar, picked):
                    if sample is not None:
                        yield sample
                    index += 1
        except ImageError as error:
            reason = str(error)
        else:
            if index:
                return index
        if index in picked:
            yield Sample(self.name, Broken(reason))
        return index + 1

    def _unlabelled(self, tar: tarfile.TarFile, picked: range) -> Iterator[Sample | None]:
        """Yield a sample for each image; None for those that are not picked, which stay unread."""
        images = (member for member in members_of(tar) if _holds_image(member))
        for index, member in enumerate(images):
            yield self._sample(tar, member) if index in picked else None

    def _labelled(self, tar: tarfile.TarFile, picked: range) -> Iterator[Sample | None]:
        index = 0
        group = Group("")
        try:
            for member in members_of(tar):
                key = key_of(member.name)
                if key != group.key or group.size > MOST:  # no more is held to wait for a label
                    yield from group.samples()
                    group = Group(key)
                if _holds_image(member):
                    sample = self._sample(tar, member) if index in picked else None
                    group.images.append((member.name, sample))
                    group.size += 0 if sample is None else member.size
                    index += 1
                elif member.name.lower().endswith(LABELS) and member.isreg():
                    group.take_label(member.name, label_of(tar, member))
        except ImageError:  # what came before the damage is whole
            yield from group.samples()
            raise
        yield from group.samples()

    def _sample(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Sample:
        name = f"{self.name}/{member.name}"
        try:
            return Sample(name, content_of(tar, member, MOST))
        except Unusable as error:
            return Sample(name, Broken(str(error)))


def _holds_image(member: tarfile.TarInfo) -> bool:
    return is_image(member.name) and not member.isdir()
