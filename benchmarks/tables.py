"""Results of `network` and `steps` become rows of text, titles first; and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, Protocol, TypeVar

from ..errors import ConfigError
from ..files import replace_text
from ..measure.timing import Samples
from ..plan import Plan
from ..proof.tolerance import Verdict
from ..text import short
from .network import Result
from .peak import Peak
from .peers import PEERS, Peer
from .percentiles import percentiles
from .steps import StepResult

Rows = list[Sequence[str]]

# timm's model card of the headline model
CARD = {"parameters": "45.2 M", "MACs": "8.1 G", "activations": "18.4 M"}
BEGIN, END = "<!-- r2n bench: begin -->", "<!-- r2n bench: end -->"
TITLES = (
    "subject", "img/s", "p50 ms", "p90 ms", "p99 ms", "GMAC/s", "of peak", "MB", "error",
    "speed-up",
)  # fmt: skip
SPARE = ("GMAC/s",)  # not shown on a terminal, which "of peak" says too
COLUMNS, LEAST_NAME = 80, 18
WAITS = ("wall ms", "host ms")  # of a GPU, behind its events' times
STEP_TITLES = (
    "step", "op", "n", "ms", "twin ms", "speed-up", "TFLOP/s", "GB/s", "of roofline", "error",
)  # fmt: skip


class OfPeer(Protocol):
    @property
    def peer(self) -> Peer: ...


Timed = TypeVar("Timed", bound=OfPeer)


def usual(timed: Iterable[Timed]) -> Timed | None:
    """Return whom speed-ups are over: timm in channels_last, else the first peer, if any."""
    peers = [one for one in timed if not one.peer.ours]
    return next(iter([*(one for one in peers if one.peer is PEERS["timm"]), *peers]), None)


def base_of(results: Iterable[Result]) -> Result | None:
    return usual(result for result in results if result.samples)


def network_table(results: Sequence[Result], plan: Plan, peak: Peak) -> Rows:
    """Return a row per subject that was timed. Speed-ups are over `base_of`, round by round.

    Subjects on a GPU have WAITS too, all of them.
    """
    timed = [(r, r.samples, r.verdict) for r in results if r.samples and r.verdict]
    base, after = base_of(results), TITLES.index("p99 ms") + 1
    waits = WAITS if any(samples.wall for _, samples, _ in timed) else ()
    titles = (*TITLES[:after], *waits, *TITLES[after:])
    over = base.samples if base else None
    return [titles, *(_cells(r, s, v, over, plan, peak) for r, s, v in timed)]


def _cells(
    result: Result, samples: Samples, verdict: Verdict, base: Samples | None, plan: Plan,
    peak: Peak,
) -> list[str]:  # fmt: skip
    found = percentiles(list(chain(*samples.rounds)))
    seconds = [found[name] for name in ("p50", "p90", "p99")]
    if samples.wall:
        seconds += [median(chain(*clock)) for clock in (samples.wall, samples.host)]
    digits = 3 if samples.wall else 1
    macs = plan.macs / samples.median
    return [
        result.peer.subject,
        f"{plan.batch / samples.median:.2f}",
        *(f"{second * 1e3:.{digits}f}" for second in seconds),
        f"{macs / 1e9:.1f}",
        f"{2 * macs / peak.flops:.0%}",
        "-" if result.memory is None else f"{result.memory / 1e6:.0f}",
        f"{verdict.error:.0e}",
        "-" if base is None else f"{samples.speedup_over(base):.2f}x",
    ]


def step_table(results: Sequence[StepResult], peak: Peak) -> Rows:
    """Return a row per step. Where L2's bandwidth is known, the last column names the bound."""
    rows = [_step_cells(result, peak) for result in results]
    return [(*STEP_TITLES, "bound"), *rows] if peak.l2 else [STEP_TITLES, *(r[:-1] for r in rows)]


def _step_cells(result: StepResult, peak: Peak) -> list[str]:
    """Return a row's cells. The roofline is the longest of the bounds, which comes last."""
    step, error = result.step, f"{result.verdict.error:.0e}"
    head = [step.name, step.op, str(result.count)]
    if result.ours is None or result.twin is None:
        return [*head, "wrong", *["-"] * 5, error, "-"]
    seconds, bounds = result.ours.median, bounds_of(result, peak)
    bound = max(bounds, key=lambda name: bounds[name])
    return [
        *head,
        *(f"{samples.median * 1e3:.4f}" for samples in (result.ours, result.twin)),
        f"{result.ours.speedup_over(result.twin):.2f}x",
        f"{2 * step.macs / seconds / 1e12:.3f}",
        f"{result.bytes / seconds / 1e9:.1f}",
        f"{bounds[bound] / seconds:.0%}",
        error,
        bound,
    ]


def bounds_of(result: StepResult, peak: Peak) -> dict[str, float]:
    """Return the seconds that the step takes at least: to compute, and to move its bytes."""
    bounds = {"compute": 2 * result.step.macs / peak.flops, "memory": result.bytes / peak.bandwidth}
    return bounds | ({"L2": result.step.bytes_l2 / peak.l2} if peak.l2 else {})


def narrow(rows: Sequence[Sequence[str]], columns: int = COLUMNS) -> Rows:
    """Return what fits a terminal: without SPARE, and names shortened where that is enough."""
    kept = [i for i, title in enumerate(rows[0]) if title not in SPARE]
    fewer = [[row[i] for i in kept] for row in rows]
    rest = sum(1 + max(map(len, column)) for column in list(zip(*fewer, strict=True))[1:])
    room = max(LEAST_NAME, columns - rest)
    return [(short(row[0], room), *row[1:]) for row in fewer]


def document(results: Sequence[Result], plan: Plan, scope: str) -> dict[str, Any]:
    """Return the figures of a case as JSON has them; times are seconds per call."""
    base = base_of(results)
    return {
        "dtype": str(plan.dtype).removeprefix("torch."), "batch": plan.batch,
        "size": [plan.height, plan.width], "scope": scope,
        "subjects": [_figures(result, base, plan) for result in results],
    }  # fmt: skip


def _figures(result: Result, base: Result | None, plan: Plan) -> dict[str, Any]:
    samples, verdict = result.samples, result.verdict
    over = base.samples if base else None
    calls = list(chain(*samples.rounds)) if samples else []
    return {
        "subject": result.peer.subject, "ours": result.peer.ours,
        "images per second": plan.batch / samples.median if samples else None,
        "speed-up": samples.speedup_over(over) if samples and over else None,
        "median": samples.median if samples else None,
        "seconds": percentiles(calls) if calls else None, "calls": len(calls),
        "memory": result.memory, "error": verdict.error if verdict else None,
        "left out": result.left_out or None,
    }  # fmt: skip


def costs(plan: Plan) -> dict[str, str]:
    """Return what an image costs, under the names of CARD."""
    return {
        "parameters": f"{plan.config.parameters / 1e6:.2f} M",
        "MACs": f"{plan.macs / plan.batch / 1e9:.3f} G",
        "activations": f"{plan.activations / plan.batch / 1e6:.2f} M",
    }


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|---" + "|--:" * (len(rows[0]) - 1) + "|", *body]


def find_marks(path: Path, marks: tuple[str, str] = (BEGIN, END)) -> tuple[str, str]:
    """Return what a file has before and after its marks. Raises ConfigError where it lacks them."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        told = "' and '".join(marks)
        raise ConfigError(f"{path} has no lines '{told}' around the tables' place")
    return before, after


def put_between_marks(path: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    before, after = find_marks(path, marks)
    replace_text(path, f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")
