"""A bundle's bytes are a safetensors file whose one entry of metadata is the manifest.

Parts are tensors, code and text among them as bytes. The manifest has the SHA-256 of each, and
follows its own: who reads a part reads what was written, or gets an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import BundleError
from ..files import replace_bytes
from ..text import printable
from ..weights.files import sha256_of

KEY = "r2n_kernels"  # of the metadata
MANIFEST = 1 << 24  # most bytes of a manifest: parsed, JSON takes some 20 times as much
PART = 1 << 24  # most bytes of an unpacked text, a plan among them
DIGEST = hashlib.sha256().digest_size * 2  # characters
DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)  # of parts
Parts = Mapping[str, Tensor]


def digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def tensor_digest(tensor: Tensor) -> str:
    """Hash a contiguous CPU tensor's bytes."""
    return digest(tensor.reshape(-1).view(torch.uint8).numpy().data)


def packed_text(text: str) -> Tensor:
    """Return a text as a part: compressed, [bytes] uint8."""
    return packed_bytes(zlib.compress(text.encode(), level=9))


def packed_bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def write(path: str | os.PathLike, manifest: Mapping[str, Any], parts: Parts) -> None:
    """Write the file at once. `manifest` gets an entry "parts", the hash of each by name.

    The same manifest and parts make the same bytes.
    """
    every = {name: parts[name].contiguous() for name in sorted(parts)}
    stated = {**manifest, "parts": {name: tensor_digest(t) for name, t in every.items()}}
    text = json.dumps(stated, sort_keys=True, separators=(",", ":"))
    replace_bytes(path, save(every, {KEY: digest(text.encode()) + text}))


class BundleFile:
    """A BundleFile is an opened file. Each part is checked when it is read, or all by `check`."""

    def __init__(self, path: str | os.PathLike, sha256: str | None = None) -> None:
        """Raise BundleError for what is no whole bundle, or not the one that sha256 names."""
        self.path = Path(path)
        if not self.path.is_file():
            raise BundleError(f"{self}: no such file")
        if sha256 is not None:
            self._check_whole(sha256)
        _check_header(self)
        try:
            self._file = safe_open(self.path, framework="pt")
            self.names = frozenset(self._file.keys())
            metadata = self._file.metadata()
        except (SafetensorError, OSError, ValueError) as error:  # ValueError: not UTF-8
            raise BundleError(f"{self} is damaged: {error}") from error
        stated = (metadata or {}).get(KEY)
        if stated is None:
            raise BundleError(f"{self} is no bundle of r2n_kernels: its manifest is missing")
        if digest(stated[DIGEST:].encode()) != stated[:DIGEST]:
            raise BundleError(f"{self} is damaged: the manifest's hash is another")
        try:
            self.manifest = json.loads(stated[DIGEST:])
            self.hashes = dict(self.manifest.pop("parts"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(f"{self} is damaged: its manifest cannot be read") from error
        if self.hashes.keys() != self.names:
            odd = sorted(map(str, self.hashes.keys() ^ self.names))[0]
            raise BundleError(f"{self} is damaged: part '{printable(odd)}' is missing or too many")

    def __str__(self) -> str:
        return printable(str(self.path))

    def _check_whole(self, sha256: str) -> None:
        found = sha256_of(self.path)
        if found != sha256.lower():
            raise BundleError(f"{self} has the SHA-256 {found}, expected {printable(sha256)}")

    def tensor(self, name: str) -> Tensor:
        """Read a part. Raises BundleError where it is damaged, or not there."""
        if name not in self.names:
            raise BundleError(f"{self} has no part '{printable(name)}'")
        try:
            found = self._file.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise BundleError(f"{self} is damaged: part '{printable(name)}': {error}") from error
        if found.dtype not in DTYPES or tensor_digest(found) != self.hashes[name]:
            raise BundleError(f"{self} is damaged: the hash of part '{printable(name)}' is another")
        return found

    def data(self, name: str) -> bytes:
        """Read a part of bytes."""
        return self.tensor(name).numpy().tobytes()

    def text(self, name: str) -> str:
        """Read a compressed text."""
        unpack = zlib.decompressobj()
        try:
            text = unpack.decompress(self.data(name), PART).decode()
        except (zlib.error, UnicodeDecodeError) as error:
            raise BundleError(f"{self} is damaged: part '{printable(name)}': {error}") from error
        if not unpack.eof:
            raise BundleError(
                f"{self}: part '{printable(name)}' is cut, or has more than {PART:,} bytes"
            )
        return text

    def check(self) -> None:
        """Read every part. Raises BundleError for the first damaged one."""
        for name in sorted(self.names):
            self.tensor(name)

    def content(self) -> str:
        """Hash the manifest and the parts but for the proof, which is of just these."""
        every = {name: value for name, value in self.hashes.items() if name != PROOF}
        return digest(json.dumps([self.manifest, every], sort_keys=True).encode())

    def rewritten(self, parts: Parts) -> None:
        """Write the file again, with these parts in place of its own."""
        kept = {name: self.tensor(name).clone() for name in self.names}
        write(self.path, self.manifest, {**kept, **parts})


PROOF = "proof"  # the part that says what was proven of the others


def _check_header(file: BundleFile) -> None:
    """Read the length of the header before a parser does. Raises BundleError."""
    with open(file.path, "rb") as opened:
        start = opened.read(8)
    size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < size <= MANIFEST:
        raise BundleError(f"{file} is no bundle of r2n_kernels")


def part_sizes(file: BundleFile) -> Iterator[tuple[str, int]]:
    """Yield each part's name and bytes."""
    for name in sorted(file.names):
        tensor = file.tensor(name)
        yield name, tensor.numel() * tensor.element_size()
