"""Read hardware counters of a few steps with NVIDIA's profiler, and say what limits each.

usage: counters.py FOLDER [--dry]       FOLDER gets counters.json, ncu_raw.csv and ncu_details.txt
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .facts import Facts

SECTIONS = (
    *("SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "Occupancy"),
    *("LaunchStats", "WarpStateStats"),
)
# the machine's clocks are left as they are
NCU = ("ncu", "--profile-from-start", "off", "--clock-control", "none", "-f")
METRICS = {  # short names of what ncu calls
    "us": "gpu__time_duration.sum",
    "SM %": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 %": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "DRAM %": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L1 %": "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "registers": "launch__registers_per_thread",
    "warps %": "sm__warps_active.avg.pct_of_peak_sustained_active",
}
STALL = re.compile(r"issue_stalled_(\w+?)_per_")
MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "nsecond": 1e-3, "usecond": 1.0, "msecond": 1e3}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry", action="store_true", help="without the profiler, on the CPU")
    args = parser.parse_args()
    steps = [sys.executable, "-m", "r2n_kernels.benchmarks.gpu.single", "profile"]
    if args.dry:
        return subprocess.run([*steps, "--dry"], check=False).returncode
    report = args.folder / "steps.ncu-rep"
    wanted = [word for section in SECTIONS for word in ("--section", section)]
    code = subprocess.run([*NCU, "-o", str(report), *wanted, *steps], check=False).returncode
    if code or not report.exists():
        print("ncu left no report", flush=True)
        return code or 1
    raw = export(report, args.folder / "ncu_raw.csv", "--page", "raw", "--csv")
    export(report, args.folder / "ncu_details.txt", "--page", "details")
    facts = Facts(args.folder / "counters.json")
    for number, row in enumerate(limiters(raw.splitlines()), 1):
        facts.keep(str(number), row)
    return 0 if facts.found else 1


def export(report: Path, to: Path, *page: str) -> str:
    """Return a page of the report as text, which a file gets too."""
    command = ["ncu", "--import", str(report), *page]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    to.write_text(text, encoding="utf-8")
    return text


def limiters(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return METRICS of each kernel of ncu's raw page, its busiest part, why warps wait most."""
    quoted = (line for line in lines if line.startswith('"'))
    unit, *kernels = [*csv.DictReader(quoted)] or [{}]  # first a line of units
    return [_limits(row, unit) for row in kernels]


def _limits(row: dict[str, str], unit: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"kernel": row.get("Kernel Name", "?")}
    found |= {name: _number(row[title]) for name, title in METRICS.items() if row.get(title)}
    if "us" in found:
        found["us"] *= MICROSECONDS.get(unit[METRICS["us"]], 1.0)
    parts = {name: found[name] for name in ("SM %", "L2 %", "DRAM %", "L1 %") if name in found}
    if parts:
        found["busiest"] = max(parts, key=lambda name: parts[name]).removesuffix(" %")
    stalls = {
        match[1]: _number(value) for title, value in row.items()
        if value and (match := STALL.search(title)) and "not_issued" not in title
    }  # fmt: skip
    stalls.pop("selected", None)  # no wait: it issues
    if stalls:
        found["waits"] = max(stalls, key=lambda name: stalls[name])
    return found


def _number(text: str) -> float:
    return float(text.replace(",", ""))


if __name__ == "__main__":
    sys.exit(main())
