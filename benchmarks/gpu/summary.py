"""Write one short table of everything that a run left, whatever is missing or damaged.

usage: python -m r2n_kernels.benchmarks.gpu.summary FOLDER        (what records.tgz holds)
"""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from . import timings

WIDTH = 100
TELLING = ("warm", "selftest_quick", "selftest", "pytest", "memcheck", "racecheck")
LINES = 3  # of a failed section
FASTEST = 3  # candidates of a kind
# what reading a file that is no such JSON, or lacks something, raises
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class Left:
    """A Left reads what a run left. parts: the folder of its JSON; records: its JSONL."""

    def __init__(self, parts: Path, records: Path) -> None:
        self.parts, self._records = parts, records

    def json(self, name: str) -> Any:
        return json.loads((self.parts / name).read_text(encoding="utf-8"))

    def records(self) -> list[dict[str, Any]]:
        """Read all records but those that a killed writer left unfinished."""
        found = []
        for line in self._records.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict) and "schema" in record]


def summarise(parts: Path, records: Path) -> list[str]:
    """Write lines of at most WIDTH columns. `outcomes` says why something was not measured."""
    left, lines = Left(parts, records), ["===== summary ====="]
    for block in (machine, outcomes, ceilings, rates, steps, candidates, counters):
        try:
            lines += block(left)
        except FileNotFoundError:
            continue
        except DAMAGE as error:
            lines.append(f"{block.__name__}: damaged: {type(error).__name__}: {error}")
    return [line[:WIDTH] for line in lines]


def machine(left: Left) -> list[str]:
    e = left.json("environment.json")
    commit = f"{(e.get('commit') or 'no commit')[:10]}{', changed' if e.get('dirty') else ''}"
    chip = e.get("gpu") or e.get("cpu")
    return [f"{chip}, driver {e.get('driver')}, torch {e.get('torch')}, Triton {e.get('triton')}",
            f"commit {commit}, kernels {e.get('kernels')}"]  # fmt: skip


def outcomes(left: Left) -> list[str]:
    """List sections that went well side by side, and the others with their reasons."""
    found = left.json("sections.json")
    well = ", ".join(f"{s['name']} {s['seconds']:.0f} s" for s in found if s["state"] == "ok")
    lines = _wrap(f"ok: {well or 'none'}")
    skipped: dict[str, list[str]] = {}
    for s in found:
        if s["state"] == "skipped":
            skipped.setdefault(s["why"], []).append(s["name"])
        elif s["state"] != "ok":
            lines += _wrap(f"{s['name']}: {s['state'].upper()}: {s['why']}")[:LINES]
        elif s["name"] in TELLING:
            named = "" if s["why"].startswith(f"{s['name']}:") else f"{s['name']}: "
            lines.append(named + s["why"])
    for why, names in skipped.items():
        lines += _wrap(f"skipped: {why}: {', '.join(names)}")
    return lines


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def ceilings(left: Left) -> list[str]:
    lines = []
    for key, value in left.json("probe.json").items():
        if key.startswith("peak "):
            told = f"{value['flops'] / 1e12:.1f} TFLOP/s, {value['bandwidth'] / 1e12:.2f} TB/s"
            l2 = f", L2 {value['l2'] / 1e12:.2f} TB/s" if value.get("l2") else ""
            lines.append(f"measured {key}: {told}{l2}")
        elif key.startswith("wall"):
            lines.append(f"{key}: {', '.join(f'{name} {ms}' for name, ms in value.items())}")
        elif key.startswith(("TFLOP", "ms of calls 1, 2, 3 float16 b1")):
            lines.append(f"{key}: {value}")
    return lines


def rates(left: Left) -> list[str]:
    return timings.rates(left.records())


def steps(left: Left) -> list[str]:
    try:
        probe = left.json("probe.json")
    except FileNotFoundError:  # then the records' own ceilings are taken
        probe = {}
    return timings.steps(left.records(), probe)


def candidates(left: Left) -> list[str]:
    """List today's candidate of each group, which comes first, and the fastest."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in left.json("candidates.json").values():
        groups.setdefault(row["name"].split()[0], []).append(row)
    lines = ["candidates, and how much faster than today's:"]
    for name, rows in groups.items():
        good = [row for row in rows if "us" in row]
        bad = [f"{row['name']}: {row['failed']}" for row in rows if row.get("failed")]
        lines += [f"  {each}" for each in bad[:LINES]]
        if not good:
            right = sum(not row.get("failed") for row in rows)
            lines.append(f"  {name}: {right} right, not timed")
            continue
        today, best = rows[0], sorted(good, key=lambda row: row["us"])[:FASTEST]
        for row in dict.fromkeys(map(json.dumps, [today, *best] if "us" in today else best)):
            lines.append("  " + candidate(json.loads(row), today))
    return lines


def candidate(row: dict[str, Any], today: dict[str, Any]) -> str:
    ratio = f"{today['us'] / row['us']:.2f}x" if "us" in today else ""
    return (f"{row['name']:36} {row['us']:8.1f} us {ratio:>6} {row['useful TFLOP/s']:6.0f} TFLOP/s "
            f"{row['registers']} registers, {row['CTAs an SM']} CTAs an SM")  # fmt: skip


def counters(left: Left) -> list[str]:
    lines = []
    for row in left.json("counters.json").values():
        told = ", ".join(f"{k} {v:.0f}" for k, v in row.items() if isinstance(v, (int, float)))
        lines.append(f"ncu {row['kernel'][:22]}: {told}; {row.get('busiest')}, {row.get('waits')}")
    return lines


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print("\n".join(summarise(folder, folder / "records.jsonl")))
