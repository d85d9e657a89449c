"""Random small programs: the vectorised detector against an oracle that compares all pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r2n_kernels.emulator import SCHEDULES, Kernel

from .conftest import hand_written

CTAS, WARPS, WORDS = 3, 3, 4
LANES = (0, 1, 17)  # that access memory at all
NONE = -1
PAIRS = {1: (0, 1), 2: (1, 2)}  # warps that meet at a named barrier; 0 is everybody's


@dataclass(frozen=True)
class Step:
    """kind: ld, st, bar (of barrier `number`) or warp. place[cta][warp][lane]: a word, or NONE."""

    kind: str
    number: int = 0
    place: tuple = ()


def _places(draw) -> tuple:
    words = st.sampled_from([NONE, NONE, *range(WORDS)])
    return tuple(
        tuple(tuple(draw(words) for _ in LANES) for _ in range(WARPS)) for _ in range(CTAS)
    )


@st.composite
def programs(draw) -> list[Step]:
    steps = []
    for kind in draw(
        st.lists(st.sampled_from(["ld", "st", "ld", "st", "bar", "warp"]), max_size=7)
    ):
        if kind in ("ld", "st"):
            steps.append(Step(kind, place=_places(draw)))
        else:
            steps.append(Step(kind, draw(st.sampled_from([0, 0, 1, 2])) if kind == "bar" else 0))
    return steps


# The oracle: every access is an event of a thread; order is what barriers say, transitively


@dataclass
class Event:
    kind: str
    place: int
    warp: int
    lane: int
    step: int
    clock: dict[int, int] = field(default_factory=dict)  # of each warp: intervals that came before
    interval: int = 0  # of its own warp, at the last barrier of threads ...
    synced: int = 0  # ... and at the last one of lanes


def events_of(steps: list[Step], cta: int) -> list[Event]:
    clocks = [{w: int(w == u) for w in range(WARPS)} for u in range(WARPS)]
    synced = [0] * WARPS
    events = []
    for number, step in enumerate(steps):
        if step.kind == "bar":
            members = PAIRS.get(step.number, range(WARPS))
            joined = {w: max(clocks[u][w] for u in members) for w in range(WARPS)}
            for u in members:
                clocks[u] = {**joined, u: joined[u] + 1}
                synced[u] += 1
        elif step.kind == "warp":
            synced = [s + 1 for s in synced]
        else:
            for warp in range(WARPS):
                for lane, place in zip(LANES, step.place[cta][warp], strict=True):
                    if place != NONE:
                        events.append(Event(step.kind, place, warp, lane, number,
                                            dict(clocks[warp]), clocks[warp][warp],
                                            synced[warp]))  # fmt: skip
    return events


def ordered(a: Event, b: Event) -> bool:
    """a happens before b, which is no earlier in the program."""
    if (a.warp, a.lane) == (b.warp, b.lane):
        return a.step < b.step
    if a.warp == b.warp:  # read before write is in order: lanes run side by side
        return a.synced < b.synced or (a.kind == "ld" and a.step < b.step)
    return a.interval <= b.clock[a.warp]


def races(steps: list[Step], cta: int) -> list[int]:
    """Steps that race with one before them, or within themselves."""
    found = set()
    for a, b in combinations(events_of(steps, cta), 2):
        if a.place == b.place and "st" in (a.kind, b.kind) and not ordered(a, b):
            if a.step == b.step and "ld" in (a.kind, b.kind):
                continue
            # whichever warp ran first, the later one of the two sees it
            found |= {a.step, b.step}
    return sorted(found)


def test_the_oracle():
    everyone = lambda word: ((((word,) + (NONE,) * 2,) * WARPS),) * CTAS  # noqa: E731
    lone = (((0, NONE, NONE), (NONE,) * 3, (NONE,) * 3),) * CTAS
    store, load, bar = Step("st", place=lone), Step("ld", place=everyone(0)), Step("bar")
    assert races([store, load], 0) == [0, 1]
    assert races([store, bar, load], 0) == []
    assert races([store, Step("bar", 1), load], 0) == [0, 2]  # warp 2 was not there
    assert races([store, Step("bar", 1), Step("bar", 2), load], 0) == []  # transitively
    assert races([store, Step("bar", 2), Step("bar", 1), load], 0) == [0, 3]
    assert races([load, store], 0) == [0, 1]
    assert races([Step("st", place=everyone(1))], 0) == [0]
    neighbours = (((0, NONE, NONE), (NONE,) * 3, (NONE,) * 3),) * CTAS
    other_lane = (((NONE, 0, NONE), (NONE,) * 3, (NONE,) * 3),) * CTAS
    assert races([Step("st", place=neighbours), Step("ld", place=other_lane)], 0) == [0, 1]
    warp = [Step("st", place=neighbours), Step("warp"), Step("ld", place=other_lane)]
    assert races(warp, 0) == []


def compiled(steps: list[Step]) -> tuple[Kernel, np.ndarray]:
    """Addresses come from a table, [step][cta][thread]; every store writes another value."""
    table = np.full((len(steps) + 1, CTAS, WARPS, 32), NONE, np.int32)
    body = f"""ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x;
    mov.b32 %r3, buf; shr.u32 %r10, %r1, 5; setp.lt.u32 %p1, %r10, 2; setp.gt.u32 %p2, %r10, 0;
    mad.lo.s32 %r4, %r2, {32 * WARPS}, %r1; mad.wide.u32 %rd1, %r4, 4, %rd1;
    setp.lt.u32 %p3, %r1, {WORDS}; mad.lo.s32 %r5, %r1, 4, %r3; @%p3 st.shared.b32 [%r5], -1;
    bar.sync 0;\n"""  # all words are written, before everything
    for number, step in enumerate(steps):
        if step.kind == "warp":
            body += "bar.warp.sync -1;\n"
        elif step.kind == "bar":
            body += ("bar.sync 0;", "@%p1 bar.sync 1, 64;", "@%p2 bar.sync 2, 64;")[step.number]
        else:
            for cta, warps in enumerate(step.place):
                for warp, words in enumerate(warps):
                    table[number, cta, warp, list(LANES)] = words
            body += f"""ld.global.b32 %r6, [%rd1+{number * CTAS * WARPS * 128}];
            setp.ge.s32 %p4, %r6, 0; mad.lo.s32 %r7, %r6, 4, %r3;
            mad.lo.s32 %r8, %r1, 100, {number};\n"""
            body += "@%p4 ld.shared.b32 %r9, [%r7];\n" if step.kind == "ld" else (
                "@%p4 st.shared.b32 [%r7], %r8;\n")  # fmt: skip
    return hand_written(body, "u64", shared=4 * WORDS, warps=WARPS), table


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 5))
def test_the_detector_agrees_with_the_oracle(steps, seed):
    wanted = [races(steps, cta) for cta in range(CTAS)]
    kernel, table = compiled(steps)
    for schedule in SCHEDULES:
        together = kernel.run((CTAS,), [table], schedule=schedule, seed=seed, strict=False)
        assert bool(together.report_counts) == any(wanted), (schedule, together.reports)
        assert {r.kind for r in together.reports} <= {"race"}
        for report in together.reports:  # the CTA that it blames has a race
            assert wanted[report.cta[0]], report
        for cta in range(CTAS):
            alone = kernel.run((CTAS,), [table], schedule=schedule, seed=seed, strict=False,
                               ctas=[cta])  # fmt: skip
            assert bool(alone.report_counts) == bool(wanted[cta]), (schedule, cta, alone.reports)
