from __future__ import annotations

import csv
import io
import sys

import pytest

from r2n_kernels.benchmarks.gpu import counters
from r2n_kernels.benchmarks.gpu.counters import METRICS, limiters

STALLED = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"


def page(*kernels: dict[str, str], time: str = "ns") -> list[str]:
    """As ncu prints it: notes, titles, units, a line a kernel."""
    titles = list(kernels[0])
    units = [time if title == METRICS["us"] else "%" for title in titles]
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerows([titles, units, *([kernel[title] for title in titles] for kernel in kernels)])
    return ["==PROF== Disconnected", *out.getvalue().splitlines()]


CHAIN = {
    "Kernel Name": "stage_chained_kernel",
    METRICS["us"]: "101,250",
    METRICS["SM %"]: "41.5",
    METRICS["L2 %"]: "83.25",
    METRICS["DRAM %"]: "12",
    METRICS["registers"]: "136",
    METRICS["warps %"]: "",
    STALLED.format("barrier"): "1.5",
    STALLED.format("long_scoreboard"): "3.5",
    STALLED.format("selected"): "9.5",
    STALLED.format("math_pipe_throttle") + "_not_issued": "8",
}


def test_what_limits_a_kernel():
    (found,) = limiters(page(CHAIN))
    assert found == {
        "kernel": "stage_chained_kernel", "us": 101.25, "SM %": 41.5, "L2 %": 83.25, "DRAM %": 12.0,
        "registers": 136.0, "busiest": "L2", "waits": "long_scoreboard",
    }  # fmt: skip


def test_units_of_time():
    row = {"Kernel Name": "a", METRICS["us"]: "2.5"}
    assert [limiters(page(row, time=unit))[0]["us"] for unit in ("us", "ms")] == [2.5, 2500.0]


def test_no_kernel_was_seen():
    assert limiters(["==WARNING== No kernels were profiled."]) == []
    assert limiters(page(CHAIN)[:3]) == []


def fake_ncu(tmp_path, monkeypatch, text: str) -> None:
    """A program of that name which leaves a report and prints a page."""
    program = tmp_path / "bin" / "ncu"
    program.parent.mkdir()
    (tmp_path / "page.csv").write_text(text)
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --import ]; then cat {tmp_path}/page.csv; exit; fi\n'
        f"touch {tmp_path}/steps.ncu-rep\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(sys, "argv", ["counters", str(tmp_path)])


@pytest.mark.parametrize(("kernels", "code"), [((CHAIN, CHAIN), 0), ((), 1)])
def test_pages_are_kept(kernels, code, tmp_path, monkeypatch):
    fake_ncu(tmp_path, monkeypatch, "\n".join(page(*kernels)) if kernels else "nothing\n")
    assert counters.main() == code
    assert (tmp_path / "counters.json").exists() != bool(code)
    for name in ("ncu_raw.csv", "ncu_details.txt"):
        assert (tmp_path / name).read_text()


def test_a_profiler_that_fails(tmp_path, monkeypatch, capfd):
    fake_ncu(tmp_path, monkeypatch, "")
    (tmp_path / "bin" / "ncu").write_text("#!/bin/sh\necho ==ERROR== no permission; exit 4\n")
    assert counters.main() == 4
    assert "ncu left no report" in capfd.readouterr().out
