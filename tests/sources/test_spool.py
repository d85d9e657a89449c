from __future__ import annotations

import random
import threading

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import spool
from r2n_kernels.sources.spool import Spool, in_order


def filled(names):
    kept = Spool()
    for name in names:
        kept.add(name)
    return kept


def test_any_names_come_back():
    names = ["a", "", "new\nline", "caf\udce9", "\ud800", "é" * 100_000, "/x"]
    kept = filled(names)
    assert list(kept.read(0, len(kept))) == names
    assert list(kept.read(3, 3)) == []


@pytest.mark.parametrize("in_memory", [1, 1 << 30])
def test_read_from_anywhere(monkeypatch, in_memory):
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    names = [f"{i}.png" for i in range(3 * spool.EVERY)]
    kept = filled(names)
    for start in (0, 1, spool.EVERY - 1, spool.EVERY, 2 * spool.EVERY + 5):
        assert next(kept.read(start, len(kept))) == names[start]
    assert list(kept.read(5, 12000, 1000)) == names[5:12000:1000]


def test_readers_at_once():
    names = [f"{i}.png" for i in range(20_000)]
    kept = filled(names)
    found = {}

    def read(key):
        found[key] = list(kept.read(0, len(kept)))

    threads = [threading.Thread(target=read, args=(key,)) for key in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[key] == names for key in range(4))


def test_a_full_disk_is_told(monkeypatch):
    kept = Spool()

    def write(content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept._file, "write", write)
    with pytest.raises(ConfigError, match=r"no room for the inputs' names in .*No space left"):
        kept.add("a")


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 95])
def test_in_order(monkeypatch, count):
    monkeypatch.setattr(spool, "RUN", 10)
    names = [str(i) for i in range(count)]
    random.Random(0).shuffle(names)
    assert list(in_order(iter(names))) == sorted(names)


def test_in_order_takes_all_at_once(monkeypatch):
    def names():
        yield "a"
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        in_order(names())
