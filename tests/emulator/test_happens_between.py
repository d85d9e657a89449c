"""Random programs of several CTAs that synchronise: the detector against an oracle of all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import hand_written

CTAS, WARPS, NONE = 3, 2, -1
THREADS = [(cta, warp) for cta in range(CTAS) for warp in range(WARPS)]  # lane 0 of each warp
FENCES = ("fence.acq_rel.gpu", "fence.acq_rel.cta")
STRONG = (
    *(f"atom.{order}.gpu" for order in ("relaxed", "acquire", "release", "acq_rel")),
    *("ld.acquire.gpu", "ld.relaxed.gpu", "st.release.gpu", "st.relaxed.gpu"),
)

KINDS = ("ld", "st", "ld", "st", "bar", "bar", *FENCES, FENCES[0], *STRONG, *STRONG[3:4] * 3)


@dataclass(frozen=True)
class Step:
    """kind: "ld", "st", "bar", of FENCES or STRONG. place: a word for each thread, or NONE."""

    kind: str
    place: tuple[int, ...] = ()


@st.composite
def programs(draw) -> list[Step]:
    """Words 0 and 1 are data, 2 and 3 are flags, and seldom the other way round."""
    steps = []
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=9)):
        words = [0, 1, 0, 1, 0, 1, 2] if kind in ("ld", "st") else [2, 2, 2, 3, 3, 2, 0]
        place = st.sampled_from([NONE, NONE, NONE, *words])
        with_place = kind != "bar" and kind not in FENCES
        steps.append(Step(kind, tuple(draw(place) for _ in THREADS) if with_place else ()))
    return steps


@st.composite
def handovers(draw) -> list[Step]:
    """Programs in which a CTA leaves data to a later one, at times with all that it takes."""
    steps = []
    flip = st.sampled_from([True, True, True, False])
    for _ in range(draw(st.integers(1, 3))):
        giver, taker = sorted(draw(st.permutations(range(CTAS)))[:2])
        threads = [cta * WARPS + draw(st.sampled_from([0, 0, 1])) for cta in (giver, taker) * 2]
        data, flag = draw(st.integers(0, 1)), draw(st.integers(2, 3))
        leave = draw(st.sampled_from(["atom.acq_rel.gpu", "st.release.gpu", *STRONG]))
        look = draw(st.sampled_from(["atom.acq_rel.gpu", "ld.acquire.gpu", *STRONG]))
        fenced = "relaxed" in leave and "relaxed" in look
        before, after = (draw(st.sampled_from([FENCES[0] if fenced else "bar", "bar"]))
                         for _ in range(2))  # fmt: skip
        for kind, thread, place in (
            (draw(st.sampled_from(["ld", "st"])), threads[0], data), (before, 0, NONE),
            (leave, threads[2], flag), (look, threads[1], flag), (after, 0, NONE),
            (draw(st.sampled_from(["ld", "st"])), threads[3], data),
        ):  # fmt: skip
            if place != NONE:
                steps.append(Step(kind, everyone(**{f"t{thread}": place})))
            elif draw(flip):
                steps.append(Step(kind))
                if kind != "bar" and draw(flip):
                    steps.append(Step("bar"))
    return steps


def everyone(**at: int) -> tuple[int, ...]:
    """Return the words of all threads: t0=1 is thread 0's."""
    return tuple(at.get(f"t{thread}", NONE) for thread in range(len(THREADS)))


@dataclass
class Event:
    thread: int
    kind: str
    place: int = NONE
    before: int = 0  # events that happened before, as bits ...
    within: int = 0  # ... by the order of the CTA alone ...
    early: int = 0  # ... and before what this event itself acquires

    def __post_init__(self) -> None:
        self.atomic, self.strong = self.kind.startswith("atom"), "." in self.kind
        self.reads = self.atomic or self.kind.startswith("ld")
        self.writes = self.atomic or self.kind.startswith("st")
        self.fence = self.kind == FENCES[0]
        self.acquires = self.fence or "acq" in self.kind
        self.releases = self.fence or "rel." in self.kind or "release" in self.kind


def in_order(steps: list[Step], together: bool) -> list[tuple[int, int]]:
    """(thread, step) as they are run: all CTAs in lockstep, or one CTA and warp after the other."""
    if together:
        return [(t, s) for s in range(len(steps)) for t in range(len(THREADS))]
    found = []
    for cta in range(CTAS):
        part: list[int] = []
        for number in range(len(steps) + 1):
            if number == len(steps) or steps[number].kind == "bar":
                found += [(cta * WARPS + w, s) for w in range(WARPS) for s in part]
                found += [(cta * WARPS + w, number) for w in range(WARPS) if number < len(steps)]
                part = []
            else:
                part.append(number)
    return found


def races(steps: list[Step], together: bool) -> set[tuple[int, int]]:
    events: list[Event] = []
    last: list[list[int]] = [[] for _ in THREADS]  # what a thread's next event follows
    met: dict[tuple[int, int], list[int]] = {}  # (CTA, step of a barrier): who came
    chains: dict[int, list[int]] = {}  # writes of a word that the next read may learn from
    heard: list[list[int]] = []  # of each event: the release points that its read has seen
    for thread, number in in_order(steps, together):
        step, cta = steps[number], thread // WARPS
        if step.kind == "bar":
            met.setdefault((cta, number), []).extend(last[thread])
            if thread % WARPS == WARPS - 1:
                for warp in range(WARPS):
                    last[cta * WARPS + warp] = met[cta, number]
            continue
        place = step.place[thread] if step.place else NONE
        if step.place and place == NONE:
            continue
        event, me = Event(thread, step.kind, place), len(events)
        for i in last[thread]:
            event.within |= events[i].within | 1 << i
            event.before |= events[i].before | 1 << i
        event.early = event.before
        seen: list[int] = []
        if event.strong and event.reads:
            for write in chains.get(place, ()):
                seen += [i for i in range(len(events)) if (
                    (i == write and events[i].releases)
                    or (events[i].fence and events[write].within >> i & 1)
                )]  # fmt: skip
        sources = seen if event.acquires else []
        if event.fence:
            sources = [i for r in range(me) if event.within >> r & 1 for i in heard[r]]
        for i in sources:
            event.before |= events[i].before | 1 << i
        if event.strong and event.writes:
            chains[place] = [*(chains.get(place, ()) if event.atomic else ()), me]
        events.append(event)
        heard.append(seen)
        last[thread] = [me]
    return {
        (i, j)
        for j, b in enumerate(events) for i, a in enumerate(events[:j])
        if a.place == b.place != NONE and a.thread != b.thread and (a.writes or b.writes)
        and not (a.strong and b.strong) and not b.early >> i & 1
    }  # fmt: skip


def test_the_oracle():
    write, read = Step("st", everyone(t0=0)), Step("ld", everyone(t2=0))
    count = Step("atom.acq_rel.gpu", everyone(t0=2, t2=2))
    other = Step("atom.acq_rel.gpu", everyone(t1=2, t2=2))
    relaxed, fence = Step("atom.relaxed.gpu", everyone(t0=2, t2=2)), Step(FENCES[0])
    for together in (False, True):
        assert races([write, read], together) == {(0, 1)}
        assert races([write, count, read], together) == set()
        assert len(races([write, relaxed, read], together)) == 1
        assert len(races([write, other, read], together)) == 1  # warp 1 does not know it
        assert races([write, Step("bar"), other, read], together) == set()
        assert races([write, fence, relaxed, fence, read], together) == set()
        assert len(races([write, fence, relaxed, read], together)) == 1
        assert len(races([write, Step(FENCES[1]), relaxed, Step(FENCES[1]), read], together)) == 1


def compiled(steps: list[Step]):
    """Addresses come from a table, [step][thread]; every plain store writes another value."""
    table = np.full((len(steps) + 1, len(THREADS)), NONE, np.int32)
    body = f"""ld.param.u64 %rd1, [p0]; ld.param.u64 %rd3, [p1]; mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x; shr.u32 %r3, %r1, 5; mad.lo.s32 %r3, %r2, {WARPS}, %r3;
    mad.wide.u32 %rd1, %r3, 4, %rd1; and.b32 %r4, %r1, 31; setp.eq.u32 %p1, %r4, 0;\n"""
    for number, step in enumerate(steps):
        if step.kind == "bar":
            body += "bar.sync 0;\n"
        elif step.kind in FENCES:
            body += f"{step.kind};\n"
        else:
            table[number] = step.place
            base, _, order = step.kind.partition(".")
            order, space = f".{order}" if order else "", "global"
            body += f"""ld.global.b32 %r6, [%rd1+{number * len(THREADS) * 4}];
            setp.ge.s32 %p4, %r6, 0; and.pred %p4, %p4, %p1; mad.wide.s32 %rd4, %r6, 4, %rd3;
            mad.lo.s32 %r8, %r3, 100, {number + 1};\n"""
            body += {
                "ld": f"@%p4 ld{order}.{space}.b32 %r9, [%rd4];\n",
                "st": f"@%p4 st{order}.{space}.b32 [%rd4], %r8;\n",
                "atom": f"@%p4 atom{order}.{space}.add.u32 %r9, [%rd4], 65536;\n",
            }[base]
    return hand_written(body, "u64 u64", warps=WARPS), table


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs() | handovers())
def test_the_detector_agrees_with_the_oracle(steps):
    kernel, table = compiled(steps)
    for together in (False, True):
        options = {} if together else {"schedule": "forward", "side_by_side": 1}
        counters = kernel.run((CTAS,), [table, np.zeros(4, np.int32)], strict=False, **options)
        wanted = races(steps, together)
        assert bool(counters.report_counts) == bool(wanted), (together, wanted, counters.reports)
        assert set(counters.report_counts) <= {"race", "mixed"}
