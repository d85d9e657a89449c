"""One short table of everything that a run left, whatever is missing or damaged.

usage: summary.py FOLDER        (what records.tgz holds)
"""

from __future__ import annotations

import json
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

WIDTH = 100
EAGER = "timm eager, channels_last"
COLUMNS = {  # subjects by the titles of their columns
    EAGER: "timm eager",
    "timm torch.compile, CUDA graphs": "compiled",
    "timm torch.compile, CUDA graphs, frozen": "frozen",
    "r2n_kernels, torch": "r2n torch",
    "r2n_kernels, triton": "r2n triton",
}
OURS = ("r2n_kernels, triton", "r2n_kernels, torch")
TELLING = ("warm", "selftest_quick", "selftest", "pytest", "memcheck", "racecheck")
LISTED = {"failed": 3, "steps": 6, "candidates": 3}

Read = Callable[[str], Any]


def summarise(parts: Path, records: Path) -> list[str]:
    """Lines of at most WIDTH columns. parts: the folder of the sections' files."""

    def read(name: str) -> Any:
        return json.loads((parts / name).read_text(encoding="utf-8"))

    lines = ["===== summary ====="]
    blocks = {
        "environment": lambda: machine(read), "sections": lambda: outcomes(read),
        "probe": lambda: ceilings(read), "records": lambda: rates(read_lines(records)),
        "steps": lambda: steps(read), "candidates": lambda: candidates(read),
        "counters": lambda: counters(read),
    }  # fmt: skip
    for name, block in blocks.items():
        try:
            lines += block()
        except FileNotFoundError:  # the section was not run, which `outcomes` tells
            continue
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            lines.append(f"{name}: damaged: {type(error).__name__}: {error}")
    return [line[:WIDTH] for line in lines]


def machine(read: Read) -> list[str]:
    e = read("environment.json")
    commit = f"{(e.get('commit') or 'no commit')[:10]}{', changed' if e.get('dirty') else ''}"
    chip = e.get("gpu") or e.get("cpu")
    return [f"{chip}, driver {e.get('driver')}, torch {e.get('torch')}, Triton {e.get('triton')}",
            f"commit {commit}, kernels {e.get('kernels')}"]  # fmt: skip


def outcomes(read: Read) -> list[str]:
    """Those that went well side by side; the others with what they say."""
    found = read("sections.json")
    well = ", ".join(f"{s['name']} {s['seconds']:.0f} s" for s in found if s["state"] == "ok")
    lines = _wrap(f"ok: {well or 'none'}")
    skipped: dict[str, list[str]] = {}
    for s in found:
        if s["state"] == "skipped":
            skipped.setdefault(s["why"], []).append(s["name"])
        elif s["state"] != "ok":
            lines += _wrap(f"{s['name']}: {s['state'].upper()}: {s['why']}")[: LISTED["failed"]]
        elif s["name"] in TELLING:
            lines.append(f"{s['name']}: {s['why']}")
    for why, names in skipped.items():
        lines += _wrap(f"skipped: {why}: {', '.join(names)}")
    return lines


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ")


def ceilings(read: Read) -> list[str]:
    lines = []
    for key, value in read("probe.json").items():
        if key.startswith("peak "):
            told = f"{value['flops'] / 1e12:.1f} TFLOP/s, {value['bandwidth'] / 1e12:.2f} TB/s"
            l2 = f", L2 {value['l2'] / 1e12:.2f} TB/s" if value.get("l2") else ""
            lines.append(f"measured {key}: {told}{l2}")
        elif key.startswith(("TFLOP", "wall", "ms of calls 1, 2, 3 float16 b1")):
            lines.append(f"{key}: {value}")
    return lines


def rates(records: Iterable[dict[str, Any]]) -> list[str]:
    """Images a second, a line a dtype and batch, and this project's over the others'."""
    cases: dict[tuple[str, str, int], dict[str, float]] = {}
    for r in records:
        if r["scope"] == "model":
            seconds = statistics.median(statistics.median(samples) for samples in r["samples"])
            case = (r["model"], r["dtype"], r["batch"])
            cases.setdefault(case, {})[r["subject"]] = r["batch"] / seconds
    if not cases:
        return []
    titles = [*COLUMNS.values(), "x eager", "x best"]
    lines = ["img/s".ljust(15) + "".join(title.rjust(11) for title in titles)]
    for (_, dtype, batch), found in cases.items():
        cells = [f"{found[name]:.1f}" if name in found else "-" for name in COLUMNS]
        ours = max((found[name] for name in OURS if name in found), default=None)
        others = [rate for name, rate in found.items() if not name.startswith("r2n_kernels")]
        for base in (found.get(EAGER), max(others, default=None)):
            cells.append(f"{ours / base:.2f}" if ours and base else "-")
        lines.append(f"{dtype} b{batch}".ljust(15) + "".join(cell.rjust(11) for cell in cells))
    return lines


def steps(read: Read) -> list[str]:
    lines = []
    for case, rows in read("steps.json").items():
        total = sum(row["us"] * row["count"] for row in rows)
        lines.append(f"steps {case}: {total / 1e3:.3f} ms in all; longest, and what bounds them")
        for row in rows[: LISTED["steps"]]:
            share = row["us"] * row["count"] / total
            bound = f"{row['reached']:5.0%} of {row['bound']}" if row["bound"] else ""
            lines.append(
                f"  {row['step']:20} x{row['count']:<3} {row['us']:10.1f} us {share:5.0%}  {bound}"
            )
    return lines


def candidates(read: Read) -> list[str]:
    """Of each group today's, which comes first, and the fastest."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in read("candidates.json").values():
        groups.setdefault(row["name"].split()[0], []).append(row)
    lines = []
    for name, rows in groups.items():
        good = [row for row in rows if "us" in row]
        bad = [row["name"] for row in rows if row.get("failed")]
        if bad:
            lines.append(f"candidates that failed: {', '.join(bad)}")
        if not good:
            right = sum(not row.get("failed") for row in rows)
            lines.append(f"candidates {name}: {right} right, not timed")
            continue
        today, best = rows[0], sorted(good, key=lambda row: row["us"])[: LISTED["candidates"]]
        for row in dict.fromkeys(map(json.dumps, [today, *best] if "us" in today else best)):
            lines.append("  " + candidate(json.loads(row), today))
    return lines


def candidate(row: dict[str, Any], today: dict[str, Any]) -> str:
    ratio = f"{today['us'] / row['us']:.2f}x" if "us" in today else ""
    return (f"{row['name']:36} {row['us']:8.1f} us {ratio:>6} {row['useful TFLOP/s']:6.0f} TFLOP/s "
            f"{row['registers']} registers, {row['CTAs an SM']} CTAs an SM")  # fmt: skip


def counters(read: Read) -> list[str]:
    lines = []
    for row in read("counters.json").values():
        told = ", ".join(f"{k} {v:.0f}" for k, v in row.items() if isinstance(v, (int, float)))
        lines.append(f"ncu {row['kernel'][:22]}: {told}; {row.get('busiest')}, {row.get('waits')}")
    return lines


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of JSON; one that a killed writer left unfinished is passed over."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print("\n".join(summarise(folder, folder / "records.jsonl")))
