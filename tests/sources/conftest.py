"""Archives, tables and URLs of a few small images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest


@pytest.fixture
def make_tar(tmp_path: Path) -> Callable[..., str]:
    """`make_tar("a.tar", {"1.jpg": b"...", "1.cls": b"3"})` writes an archive of these members.

    A member may be a TarInfo, for what is no file.
    """

    def write(name: str, members: dict[str, bytes | tarfile.TarInfo], format: int = 2) -> str:
        path = tmp_path / name
        mode = "w" if name.endswith(".tar") else "w:gz"
        with tarfile.open(path, mode, format=format) as tar:
            for member, content in members.items():
                info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(member)
                data = b"" if isinstance(content, tarfile.TarInfo) else content
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return str(path)

    return write


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """The files behind memory:// URLs; none is left behind."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]
