"""Find what a command reads: samples in input order, their number and their fingerprint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import ConfigError
from .listing import Listing
from .parts import Part, chain
from .paths import names_of, passed_over_text
from .sample import Sample

SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Inputs:
    """These Inputs are a snapshot of names; iterate over them as often as you like.

    Standard input alone can be read only once. What cannot be read is a sample all the same: its
    source tells why. What breaks off, as a damaged archive, is one more sample, with its name.
    """

    parts: Sequence[Part] = field(repr=False)
    digest: str | None  # SHA-256 of the whole listing, not of the shard; None with standard input
    passed_over: Mapping[str, int]  # suffix -> files in folders without an image's suffix
    files: Sequence[str]  # local files that arguments name or that hold images: not to be replaced
    classes: tuple[str, ...] | None = None  # names of integer labels, where tables tell them
    first: int = 0  # in the whole listing
    step: int = 1

    @property
    def count(self) -> int | None:
        """Return how many samples there are; None if only the end will tell: tars, `-`."""
        total = 0
        for part in self.parts:
            if part.count is None:
                return None
            total += part.count
        return len(range(self.first, total, self.step))

    def __iter__(self) -> Iterator[Sample]:
        return chain(self.parts, self.first, self.step)

    def skip(self, samples: int) -> Inputs:
        """Return these inputs without the first ones; no image of those will be read."""
        return replace(self, first=self.first + samples * self.step)


def find_inputs(
    arguments: Iterable[str | os.PathLike],
    *,
    column: str | None = None,
    shard: tuple[int, int] = (0, 1),
    labelled: bool = False,
) -> Inputs:
    """Find the images that arguments name, and open what can be opened before a run.

    An argument is a path, a folder, a glob pattern (all as for `find_images`), a tar or Parquet
    file, a folder that `datasets` saved, a URL that fsspec knows, `@FILE` for a list of those, or
    `-` for such a list on standard input. A folder without images stands for its Parquet files, or
    else its tars. `column` is the tables' column of images. `shard` (i, n) is every n-th sample of
    all, from the i-th on. `labelled`: samples carry the labels of tables and tars, and in folders
    the name of the subfolder that they are in.

    Raises ConfigError if an argument opens badly, or if none names any image.
    """
    index, shards = shard
    if not 0 <= index < shards:
        raise ConfigError(f"shard {index}/{shards}: the first number must be below the second")
    listing = Listing(column, labelled)
    for argument in names_of(arguments):
        listing.argument(argument)
    inputs = Inputs(
        listing.parts, listing.digest, listing.passed_over, listing.files, listing.classes
    )
    if listing.nothing and inputs.count == len(listing.nothing):
        told = [*listing.nothing, passed_over_text(listing.passed_over)]
        raise ConfigError("; ".join(filter(None, told)))
    if column is not None and not (listing.tables or listing.streams):
        raise ConfigError(f"column {column!r}: no input has columns")
    return replace(inputs, first=index, step=shards)


def shard_of(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n", which counts from 0. Raises ConfigError."""
    found = SHARD.fullmatch(text)
    if found is None or not int(found[1]) < int(found[2]):
        raise ConfigError(f"a shard is i/n with i from 0 to n - 1, as 0/4, not {text!r}")
    return int(found[1]), int(found[2])
