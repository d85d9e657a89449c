"""A sample is one image to read: its name, where its content is, its label if it has one."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ImageError
from .files import MOST, failing_as, fetch, protocol_of


@dataclass(frozen=True)
class Remote:
    """A Remote is a file behind a URL; it can be sent to another process, and read there."""

    url: str

    def read(self) -> bytes:
        """Return the content. Raises ImageError with a short reason, without the URL."""
        with failing_as(ImageError):
            content = fetch(self.url)
        if len(content) > MOST:
            raise too_large(MOST)
        return content


@dataclass(frozen=True)
class Broken:
    """A Broken stands for an image that the source could not give; reading it tells why."""

    reason: str

    def read(self) -> bytes:
        """Raise ImageError with the reason."""
        raise ImageError(self.reason)


Source = str | bytes | Remote | Broken


@dataclass(frozen=True, slots=True)
class Sample:
    """A Sample is one image. name: the "path" of its row. source: a path is local."""

    name: str
    source: Source
    label: int | str | None = None


def source_of(name: str) -> str | Remote:
    """Return what is read of a path or URL."""
    return name if protocol_of(name) is None else Remote(name)


def too_large(most: int) -> ImageError:
    """Return the error of an image, or label, of more bytes than are read."""
    return ImageError(f"larger than {most >> 20} MiB")
