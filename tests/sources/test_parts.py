from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources.parts import Names, One, Stream, broken, chain, unread
from r2n_kernels.sources.sample import Broken, Remote, Sample
from r2n_kernels.sources.spool import Spool


@dataclass
class Numbered:
    """So many samples, of a number that is not known before the end."""

    start: int
    size: int
    count: None = None

    def samples(self, first, step):
        for i in range(first, self.size, step):
            yield Sample(str(self.start + i), "")
        return self.size


@given(st.lists(st.integers(0, 5)), st.integers(0, 12), st.integers(1, 5))
def test_a_chain_is_sliced_as_one(sizes, first, step):
    parts = [Numbered(sum(sizes[:i]), size) for i, size in enumerate(sizes)]
    found = [int(one.name) for one in chain(parts, first, step)]
    assert found == list(range(sum(sizes)))[first::step]


def test_names():
    spool = Spool()
    for name in ("x", "top/a.png", "top/b/c.png", "s3://b/top/d.png", "top2/b/c.png", "top"):
        spool.add(name)
    names = Names(spool, 1, count=3)
    assert list(names.samples(0, 2)) == [
        Sample("top/a.png", "top/a.png"), Sample("s3://b/top/d.png", Remote("s3://b/top/d.png")),
    ]  # fmt: skip
    labels = [one.label for one in Names(spool, 0, root="top/", count=6).samples(0, 1)]
    assert labels == [None, None, "b", None, None, None]
    assert list(names.samples(3, 1)) == []


def test_one():
    assert list(unread("s3://a").samples(0, 3)) == [Sample("s3://a", Remote("s3://a"))]
    assert list(broken("a", "why").samples(0, 3)) == [Sample("a", Broken("why"))]
    assert list(broken("a", "why").samples(1, 3)) == []


class TestStream:
    @staticmethod
    def open(name):
        if name == "bad":
            raise ConfigError("bad: why")
        return [One(Sample(f"{name}{i}", "")) for i in range(2)]

    def names(self, content, first=0, step=1):
        samples = Stream("-", io.BytesIO(content), self.open).samples(first, step)
        return [one.name for one in samples]

    def test_entries_are_opened(self):
        assert self.names(b"a\nb\n") == ["a0", "a1", "b0", "b1"]
        assert self.names(b"a\nb\n", 1, 2) == ["a1", "b1"]

    def test_what_opens_badly_is_a_row(self):
        samples = Stream("-", io.BytesIO(b"bad\na"), self.open).samples(0, 1)
        assert next(samples) == Sample("bad", Broken("bad: why"))
        assert next(samples).name == "a0"

    def test_what_breaks_is_the_last_row(self):
        samples = list(Stream("-", io.BytesIO(b"a\nb\0\n"), self.open).samples(0, 1))
        assert [one.name for one in samples] == ["a0", "a1", "-"]
        assert samples[-1].source.reason.startswith("a NUL in a line")

    def test_nothing_is_a_row(self):
        (one,) = Stream("-", io.BytesIO(b""), self.open).samples(0, 1)
        assert one == Sample("-", Broken("no name in it"))

    def test_once(self):
        stream = Stream("-", io.BytesIO(b"a"), self.open)
        assert len(list(stream.samples(0, 1))) == 2
        with pytest.raises(ConfigError, match="'-' can be read only once"):
            list(stream.samples(0, 1))
