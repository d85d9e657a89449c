"""`r2n bench` prints tables, and keeps records, Markdown and CSV."""

from __future__ import annotations

import argparse
import datetime
import errno
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..benchmarks import tables, timm_csv
from ..benchmarks.network import Result
from ..benchmarks.peak import Peak, peak_of
from ..benchmarks.recorder import Recorder
from ..benchmarks.records import Record, append
from ..benchmarks.steps import StepResult
from ..config import HEADLINE, VARIANTS
from ..errors import ConfigError
from ..files import place_of, replace_text
from ..measure.machine import describe_machine
from ..plan import Plan, build_plan
from ..text import text_table
from .output import check_output, write_json
from .progress import progress

SQUARE = 224


class Output:
    """Tables are printed and records kept at once; `close` writes Markdown and CSV at the end."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Raise ConfigError for a file that cannot be written, before anything is timed."""
        self.args = args
        self.markdown: list[str] = []
        self.csv: dict[str, list[dict[str, object]]] = {}
        self.recorder = Recorder(args.model, args.device, dict(args.label)) if args.record else None
        self.peak = cache(lambda dtype: peak_of(args.device, dtype))
        self.cases: list[dict[str, Any]] = []
        if args.json:
            check_output("--json", args.json)
        if args.csv and not Path(args.csv).is_dir():
            raise ConfigError(f"--csv '{args.csv}': there is no such folder")
        if args.record:
            check_appendable(args.record)
        if args.markdown:
            check_output("--markdown", args.markdown)
            tables.find_marks(Path(args.markdown))
        self._line(f"{datetime.date.today()}, {describe_machine()}{self._gpu()}.")
        self._line(describe_model(args.model))

    def networks(self, results: Sequence[Result], plan: Plan, scope: str) -> None:
        peak = self.peak(plan.dtype)
        self._heading(plan, scope, peak)
        base = tables.base_of(results)
        if base:
            self._line(f"Speed-up over {base.peer.subject}, round by round.")
        self._table(tables.network_table(results, plan, peak))
        for result in results:
            if result.left_out:
                v = result.verdict
                error = f" (error {v.error:.1e}, limit {v.limit:.1e})" if v else ""
                self._line(f"not timed: {result.peer.subject}: {result.left_out}{error}")
            elif self.args.csv and result.samples:
                name = f"{csv_name(result, plan, self.args.device)}.csv"
                row = timm_csv.timm_row(self.args.model, result.samples, plan)
                self.csv.setdefault(name, []).append(row)
        self._fastest(results)
        self.cases.append(tables.document(results, plan, scope))
        if self.recorder:
            self._keep(self.recorder.networks(results, plan, peak, scope))

    def _fastest(self, results: Sequence[Result]) -> None:
        """Say how fast this project is beside the peer that a user would choose."""
        timed = [(result, result.samples) for result in results if result.samples]
        peers = [(result, s) for result, s in timed if not result.peer.ours]
        ours = [(result, s) for result, s in timed if result.peer.ours]
        if len(peers) > 1 and ours:
            (peer, best), (_, own) = (
                min(side, key=lambda r: r[1].median) for side in (peers, ours)
            )
            over = own.speedup_over(best)
            self._line(f"Beside the fastest peer, {peer.peer.subject}: {over:.2f}x.")

    def steps(self, results: Iterable[StepResult], plan: Plan) -> bool:
        """Return whether one was wrong. Records are kept as results come."""
        peak = self.peak(plan.dtype)
        self._heading(plan, "each step alone", peak)
        found = []
        with progress(None, "steps") as bar:
            for result in results:
                found.append(result)
                if self.recorder:
                    self._keep(self.recorder.steps(result, plan, peak))
                bar.update(1)
        self._table(tables.step_table(found, peak))
        timed = [(r.count, r.ours.median, r.twin.median) for r in found if r.ours and r.twin]
        if timed:
            ours = sum(count * seconds for count, seconds, _ in timed)
            twin = sum(count * seconds for count, _, seconds in timed)
            self._line(
                f"the steps above, as often as a forward has them: {ours * 1e3:.2f} ms, "
                f"twins {twin * 1e3:.2f} ms ({twin / ours:.2f}x)"
            )
        return len(timed) < len(found)

    def close(self) -> None:
        if self.args.json:
            facts = {"model": self.args.model, "machine": describe_machine()}
            write_json(self.args.json, {**facts, "cases": self.cases})
        for name, rows in self.csv.items():
            path = Path(self.args.csv) / name
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            replace_text(path, timm_csv.timm_csv(rows, old))
        if self.args.markdown:
            tables.put_between_marks(Path(self.args.markdown), "\n".join(self.markdown))

    def _heading(self, plan: Plan, scope: str, peak: Peak) -> None:
        dtype = str(plan.dtype).removeprefix("torch.")
        l2 = f", L2 {peak.l2 / 1e9:.0f} GB/s" if peak.l2 else ""
        self._line()
        self._line(
            f"{dtype}, batch {plan.batch}, {plan.height}x{plan.width}, {scope}; "
            f"{self.args.rounds} rounds in turns, medians. Peak: {peak.flops / 1e9:.0f} GFLOP/s, "
            f"{peak.bandwidth / 1e9:.0f} GB/s{l2} ({peak.source})."
        )

    def _table(self, rows: Sequence[Sequence[str]]) -> None:
        if rows[1:]:
            self._print("\n".join(text_table(tables.narrow(rows))))
            self.markdown += ["", *tables.markdown_table(rows), ""]

    def _line(self, text: str = "") -> None:
        self._print(text)
        self.markdown.append(text)

    def _print(self, text: str) -> None:
        if self.args.json != "-":
            print(text, flush=True)

    def _keep(self, records: Iterable[Record]) -> None:
        for record in records:
            append(Path(self.args.record), record)

    def _gpu(self) -> str:
        gpu = self.args.device.type == "cuda"
        return f"; {torch.cuda.get_device_name(self.args.device)}" if gpu else ""


def check_appendable(path: str) -> None:
    """Raise OSError where records cannot be kept there, before hours of timing."""
    if place_of(path).stream:
        raise OSError(errno.ESPIPE, "it keeps no records, as a file would", path)
    with open(path, "ab"):
        pass


def describe_model(model: str) -> str:
    """Return exact costs of an image, and the model card's where it states them."""
    found = tables.costs(build_plan(VARIANTS[model], 1, SQUARE, SQUARE))
    here, card = (
        ", ".join(f"{value} {name}" for name, value in stated.items())
        for stated in (found, tables.CARD)
    )
    said = f" (model card: {card})" if model == HEADLINE else ""
    return f"{model}: {here} at {SQUARE}x{SQUARE}{said}."


def csv_name(result: Result, plan: Plan, device: torch.device) -> str:
    """Return the name that timm would give the file, with the subject at its end."""
    short = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
    layout = {"contiguous": "nchw", "channels_last": "nhwc"}[result.peer.layout]
    version = "".join(re.findall(r"\d+", torch.__version__.partition("+")[0]))
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    words = (chip, result.peer.subject.partition(", channels")[0])
    where = "-".join(re.sub(r"[^a-z0-9_]+", "_", word.lower()).strip("_") for word in words)
    dtype = short[str(plan.dtype).removeprefix("torch.")]
    return f"benchmark-infer-{dtype}-{layout}-pt{version}-{where}"
