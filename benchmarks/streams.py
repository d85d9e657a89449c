"""Networks run for a time in several threads at once, as a busy server has them.

Each stream is a thread with an instance of its own, which calls again as soon as it has an answer.
Subjects take turns of a part of the time. The threads that a call may use are shared out among the
streams.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..engine.precision import exact
from ..errors import ConfigError
from ..measure.timing import WARMUP, cpu_threads
from ..proof.tolerance import Verdict
from .material import Material
from .network import Bench, feed_of, reason_of
from .outputs import OutputCheck
from .peers import Case, Peer

TURNS = 4  # of each subject: a machine that slows down slows all of them

Call = Callable[[], Tensor]


@dataclass
class Flow:
    """A Flow is what one subject did: seconds that its turns took, and those of each call."""

    peer: Peer
    batch: int
    streams: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    verdict: Verdict | None = None
    left_out: str = ""  # why it was not timed, or why its times are not shown

    @property
    def rate(self) -> float:
        """Return images per second, of all streams."""
        return self.batch * len(self.latencies) / self.seconds

    @property
    def wrong(self) -> bool:
        return self.verdict is not None and not self.verdict.passed


def flows(
    bench: Bench, material: Material, dtype: torch.dtype, streams: int, seconds: float
) -> list[Flow]:
    """Run each subject for so many seconds on the CPU, and check what every instance answers.

    Raises ConfigError for more streams than threads, because they would wait for each other.
    """
    threads = torch.get_num_threads()
    if streams > threads:
        raise ConfigError(f"--streams {streams}: there are {threads} threads")
    case = Case(material.x.to(dtype=dtype), bench.compile_seconds)
    found = {peer: Flow(peer, len(material.x), streams) for peer in bench.peers}
    calls: dict[Peer, list[Call]] = {}
    with cpu_threads(threads // streams), torch.no_grad(), exact(case.device, dtype):
        for peer in bench.peers:
            feed = feed_of(case, peer, material.make)
            try:
                calls[peer] = [bench.build(peer, case, feed) for _ in range(streams)]
                for _ in range(WARMUP):
                    for call in calls[peer]:
                        call()
            except Exception as error:
                if peer.ours and not isinstance(error, ConfigError):
                    raise
                found[peer].left_out = reason_of(error)
                calls.pop(peer, None)
        for _ in range(TURNS):
            for peer, instances in calls.items():
                took, latencies = pour(instances, seconds / TURNS)
                found[peer].seconds += took
                found[peer].latencies += latencies
        answers = {p: [call().float() for call in instances] for p, instances in calls.items()}
    check = OutputCheck(bench.reference, case.x)
    for peer, outputs in answers.items():
        verdicts = [check.judge(peer.subject, output) for output in outputs]
        found[peer].verdict = next((v for v in verdicts if not v.passed), verdicts[0])
        if found[peer].wrong:
            found[peer] = Flow(
                peer, len(case.x), streams, verdict=found[peer].verdict, left_out="wrong outputs"
            )
    return list(found.values())


def pour(calls: Sequence[Call], seconds: float) -> tuple[float, list[float]]:
    """Call in a thread each until the time is over; return the seconds of all, and of each call.

    A call that has begun ends. Raises what a call raised.
    """
    latencies: list[list[float]] = [[] for _ in calls]
    failed = threading.Event()
    threads_of_a_call = torch.get_num_threads()
    begin = time.perf_counter()

    def work(call: Call, mine: list[float]) -> None:
        torch.set_num_threads(threads_of_a_call)  # a new thread has a setting of its own
        try:
            with torch.no_grad():
                before = time.perf_counter()
                while before - begin < seconds and not failed.is_set():
                    call()
                    now = time.perf_counter()
                    mine.append(now - before)
                    before = now
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(work, *pair) for pair in zip(calls, latencies, strict=True)]:
            done.result()
    return time.perf_counter() - begin, [second for mine in latencies for second in mine]
