from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from r2n_kernels.benchmarks.runs import (
    Peers,
    codes,
    different_versions,
    in_runs,
    is_peer,
    place,
    same_code,
)

from .runs import NEW, TIMM, runs


def test_older_records_name_no_run(record):
    """A new one begins where a thing comes again, and where the commit changes."""
    peer = dataclasses.replace(record, subject=TIMM)
    other = dataclasses.replace(record, commit=NEW)
    found = in_runs([peer, record, peer, record, other], "x")
    assert [r.run for r in found] == ["x1", "x1", "x2", "x2", "x3"]
    named = dataclasses.replace(record, run="mine")
    assert in_runs([named, named]) == [named, named]


def test_one_code(record):
    assert same_code(record, record)
    other = dataclasses.replace(record, commit=NEW)
    assert not same_code(record, other)
    dirty = dataclasses.replace(record, dirty=True)
    assert not same_code(dirty, dirty)  # who knows what was changed
    hashed = [dataclasses.replace(r, code="ab") for r in (record, dirty, other)]
    assert all(same_code(hashed[0], r) for r in hashed)
    assert not same_code(hashed[0], dataclasses.replace(record, code="cd"))
    unknown = dataclasses.replace(record, commit=None)
    assert not same_code(unknown, unknown)


def test_an_upgrade_is_another_code(record):
    old, new = (dataclasses.replace(record, versions={"python": v}) for v in ("3.12", "3.13"))
    assert different_versions(old, new) == "python: 3.12 and 3.13"
    assert not same_code(old, new)
    assert different_versions(record, new) == ""  # an older record does not know
    more = dataclasses.replace(record, versions={"python": "3.12", "timm": "1"})
    assert different_versions(old, more) == "timm: None and 1"


def test_codes_by_place(record):
    first, second = runs(record, [0.1, 0.2]), runs(record, [0.3], commit=NEW)
    other = dataclasses.replace(first[0], batch=1)
    found = codes([*first, other, *second])
    assert found == {place(record): [first, second], place(other): [[other]]}


def test_a_run_is_one_record(record):
    twice = runs(record, [0.1, 0.2], run="one")
    ((code,),) = codes(twice).values()
    assert [r.seconds for r in code] == [(0.1,) * 3 + (0.2,) * 3]


def test_peers_of_a_run(record):
    both = runs(record, [0.1, 0.2], [0.3, 0.8])
    ours, theirs = both[1::2], both[::2]
    assert [is_peer(r) for r in both] == [True, False, True, False]
    peers = Peers(both)
    assert peers.common(ours, ours) == [TIMM]
    assert peers.logs(ours, TIMM) == pytest.approx(np.log([1 / 3, 1 / 4]))
    assert peers.logs(ours, None) == pytest.approx(np.log([0.1, 0.2]))
    assert Peers(both[1:]).common(ours, ours) == []  # not beside every run
    assert Peers(both[1:]).logs(ours, TIMM) is None
    upgraded = dataclasses.replace(theirs[1], versions={"timm": "2.0"})
    assert Peers([*ours, theirs[0], upgraded]).common(ours[:1], ours[1:]) == []
    other = [dataclasses.replace(r, batch=1) for r in theirs]
    assert Peers(other).common(ours, ours) == []  # of another case


def test_rounds_that_took_turns_cancel_drift(record):
    slow = dataclasses.replace(record, samples=((0.1,), (0.2,), (0.4,)), again=(), run="1")
    peer = dataclasses.replace(slow, subject=TIMM, samples=((0.2,), (0.4,), (0.8,)))
    assert Peers([peer]).logs([slow], TIMM) == pytest.approx([np.log(0.5)])
    twice = [dataclasses.replace(r, again=r.samples[:1] * 4) for r in (slow, peer)]
    assert Peers(twice[1:]).logs(twice[:1], TIMM) == pytest.approx([np.log(0.5)])
    assert Peers([]).logs(twice[:1], None) == pytest.approx([np.log(0.1)])
    assert Peers([peer]).logs(twice[:1], TIMM) == pytest.approx([np.log(0.25)])
    short = dataclasses.replace(peer, samples=((0.4,),))
    assert Peers([short]).logs([slow], TIMM) == pytest.approx([np.log(0.5)])
