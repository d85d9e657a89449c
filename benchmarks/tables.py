"""Results of `network` as text: for a terminal, for Markdown, and in timm's columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from ..files import replace_text
from ..measure.timing import Samples
from ..plan import Plan
from .network import Result
from .peak import Peak
from .peers import PEERS

# timm's model card of the headline model
CARD = {"parameters": "45.2 M", "MACs": "8.1 G", "activations": "18.4 M"}
# timm's results/benchmark-infer-*.csv
TIMM_COLUMNS = (
    "model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size",
    "param_count", "infer_gmacs", "infer_macts",
)  # fmt: skip
TIMM_CASE = ("model", "infer_img_size", "infer_batch_size")
BEGIN, END = "<!-- r2n bench: begin -->", "<!-- r2n bench: end -->"
TITLES = (
    "subject", "img/s", "p50 ms", "p90 ms", "p99 ms", "GMAC/s", "of peak", "MB", "error",
    "speed-up",
)  # fmt: skip
WAITS = ("wall ms", "host ms")  # of a GPU, behind its events' times


@dataclass(frozen=True)
class Row:
    """ms: of a batch, at the 50th, 90th and 99th of 100; share: of the device's peak.

    waits: medians by the wall clock, until the GPU is done and until the call returned.
    """

    subject: str
    rate: float
    ms: tuple[float, float, float]
    gmacs: float
    share: float
    memory: int | None
    error: float
    speedup: float | None
    waits: tuple[float, float] | None = None

    def cells(self) -> list[str]:
        """Texts in the order of TITLES, or of those with WAITS."""
        digits = 3 if self.waits else 1
        memory = "-" if self.memory is None else f"{self.memory / 1e6:.0f}"
        return [
            self.subject, f"{self.rate:.2f}", *(f"{ms:.{digits}f}" for ms in self.ms),
            *(f"{ms:.{digits}f}" for ms in self.waits or ()),
            f"{self.gmacs:.1f}", f"{self.share:.0%}", memory, f"{self.error:.0e}",
            "-" if self.speedup is None else f"{self.speedup:.2f}x",
        ]  # fmt: skip


def base_of(results: Sequence[Result]) -> Result | None:
    """Whom speed-ups are over: timm in channels_last, else the first peer; None without one."""
    peers = [result for result in results if result.samples and not result.peer.ours]
    usual = [result for result in peers if result.peer is PEERS["timm"]]
    return next(iter([*usual, *peers]), None)


def rows_of(results: Sequence[Result], plan: Plan, peak: Peak) -> list[Row]:
    """Of those that were timed. Speed-ups are over `base_of` them, round by round."""
    timed, base = [result for result in results if result.samples], base_of(results)
    found = []
    for result in timed:
        samples, gmacs = result.samples, plan.macs / 1e9
        seconds = np.concatenate(samples.rounds)
        found.append(
            Row(
                result.peer.subject, plan.batch / samples.median,
                tuple(np.quantile(seconds, (0.5, 0.9, 0.99)) * 1e3), gmacs / samples.median,
                2e9 * gmacs / samples.median / peak.flops, result.memory, result.verdict.error,
                samples.speedup_over(base.samples) if base else None,
                _waits(samples),
            )
        )  # fmt: skip
    return found


def _waits(samples: Samples) -> tuple[float, float] | None:
    if not samples.wall:
        return None
    wall, host = (float(np.median(np.concatenate(s))) for s in (samples.wall, samples.host))
    return wall * 1e3, host * 1e3


def table(rows: Sequence[Row]) -> list[Sequence[str]]:
    """With its titles. All rows have waits, or none."""
    after = TITLES.index("p99 ms") + 1
    titles = (*TITLES[:after], *WAITS, *TITLES[after:]) if rows[0].waits else TITLES
    return [titles, *(row.cells() for row in rows)]


def costs(plan: Plan) -> dict[str, str]:
    """What an image costs, under the names of CARD."""
    return {
        "parameters": f"{plan.config.parameters / 1e6:.2f} M",
        "MACs": f"{plan.macs / plan.batch / 1e9:.3f} G",
        "activations": f"{plan.activations / plan.batch / 1e6:.2f} M",
    }


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first row holds the titles; the first column is flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        " ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|---" + "|--:" * (len(rows[0]) - 1) + "|", *body]


def find_marks(path: Path, marks: tuple[str, str] = (BEGIN, END)) -> tuple[str, str]:
    """What a file has before and after its marks. Raises ConfigError where it lacks them."""
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


def timm_row(model: str, result: Result, plan: Plan) -> dict[str, object]:
    """A line of timm's results: their units, their rounding. Raises ConfigError unless square."""
    if plan.height != plan.width:
        raise ConfigError(f"timm's tables hold square images, got {plan.height}x{plan.width}")
    seconds = result.samples.median
    values = (
        model, plan.height, round(plan.batch / seconds, 2), round(seconds * 1e3, 3), plan.batch,
        round(plan.config.parameters / 1e6, 2), round(plan.macs / plan.batch / 1e9, 2),
        round(plan.activations / plan.batch / 1e6, 2),
    )  # fmt: skip
    return dict(zip(TIMM_COLUMNS, values, strict=True))


def timm_csv(rows: Sequence[dict[str, object]], old: str = "") -> str:
    """Fastest first, as timm sorts them, with the rows of an older file that are of other cases.

    Raises ConfigError where that has other columns.
    """
    kept = csv.DictReader(io.StringIO(old))
    if old and tuple(kept.fieldnames or ()) != TIMM_COLUMNS:
        raise ConfigError(f"expected the columns {', '.join(TIMM_COLUMNS)}, got {old[:80]!r}")
    cases = {tuple(str(row[name]) for name in TIMM_CASE): row for row in (*kept, *rows)}
    rows = list(cases.values())
    out = io.StringIO()
    writer = csv.DictWriter(out, TIMM_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: -float(row["infer_samples_per_sec"])))
    return out.getvalue()
