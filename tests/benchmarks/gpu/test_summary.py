from __future__ import annotations

import json

import pytest

from r2n_kernels.benchmarks.gpu.summary import WIDTH, summarise

EAGER, OURS = "timm eager, channels_last", "r2n_kernels, triton"
FROZEN = "timm torch.compile, channels_last"
PEAK = {"flops": 800e12, "bandwidth": 3e12, "l2": 7e12}


def timed(subject: str, batch: int, seconds: float, **rest) -> dict:
    return {
        "schema": 2, "scope": "model", "subject": subject, "model": "m", "dtype": "float16",
        "batch": batch, "samples": [[seconds], [2 * seconds], [seconds]], "peak": None, **rest,
    }  # fmt: skip


def step(name: str, seconds: float, **rest) -> dict:
    cost = {"count": 2, "macs": 40_000_000_000, "bytes": 30_000_000, "bytes_l2": 350_000_000}
    return timed(OURS, 256, seconds, scope="step", step=name, **{**cost, **rest})


@pytest.fixture
def write(tmp_path):
    """write(records=[...], probe={...}): what a run leaves; lines of the summary."""

    def make(records=(), **parts) -> list[str]:
        for name, content in parts.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        if records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (tmp_path / "records.jsonl").write_text(lines)
        return summarise(tmp_path, tmp_path / "records.jsonl")

    return make


def outcome(name: str, state: str = "ok", why: str = "", seconds: float = 3) -> dict:
    return {"name": name, "state": state, "seconds": seconds, "why": why}


def test_nothing_was_left(write):
    assert write() == ["===== summary ====="]


def test_sections(write):
    found = [
        outcome("install"), outcome("warm", why="132 kernels"), outcome("bench", "failed", "a | b"),
        outcome("ncu", "skipped", "no ncu on the path"), outcome("steps", "ran over its time", "x"),
        outcome("racecheck", "skipped", "no ncu on the path"),
    ]  # fmt: skip
    assert write(sections=found)[1:] == [
        "ok: install 3 s, warm 3 s",
        "warm: 132 kernels",
        "bench: FAILED: a | b",
        "steps: RAN OVER ITS TIME: x",
        "skipped: no ncu on the path: ncu, racecheck",
    ]


def test_rates(write):
    records = [timed(EAGER, 8, 0.01), timed(FROZEN, 8, 0.008), timed(OURS, 8, 0.005),
               timed(OURS, 1, 0.001)]  # fmt: skip
    lines = write(records)
    assert lines[1].split() == [
        *("img/s", "timm", "eager", "compiled", "frozen", "r2n", "torch", "r2n", "triton"),
        "bundle",
        *("x", "eager", "x", "best"),
    ]
    assert lines[2].split() == [
        "float16", "b8", "800.0", "-", "1000.0", "-", "1600.0", "-", "2.00", "1.60",
    ]  # fmt: skip
    assert lines[3].split() == ["float16", "b1", "-", "-", "-", "-", "1000.0", "-", "-", "-"]


def test_what_a_caller_waits_for(write):
    eager = timed(EAGER, 1, 0.01, wall=[[0.0125], [0.012]])
    ours = [timed(OURS, batch, 1e-3, wall=[[batch * 2e-3]]) for batch in (1, 8)]
    records = [eager, *ours]
    assert write(records)[-1] == "wall ms, float16 b1: timm eager 12.250, r2n triton 2.000"


def test_steps_are_held_to_what_was_measured(write):
    records = [step("conv1", 1e-4), step("stage", 2e-4, bytes_l2=None), timed(EAGER, 8, 0.01)]
    lines = write(records, probe={"peak float16": PEAK})
    assert "measured peak float16: 800.0 TFLOP/s, 3.00 TB/s, L2 7.00 TB/s" in lines
    at = lines.index("steps, float16 b256: 0.600 ms in all; the longest:")
    assert lines[at + 1].split() == [
        "stage",
        "x2",
        "200.0",
        "us",
        "67%",
        *["compute", "50%,", "memory", "5%"],
    ]
    assert lines[at + 2].endswith("33%  compute 100%, memory 10%, L2 50%")


def test_steps_without_a_probe(write):
    lines = write([step("conv1", 1e-4, peak={"flops": 400e12, "bandwidth": None})])
    assert lines[-1].endswith(" 100%  compute 200%")


def test_candidates(write):
    def row(name: str, us: float | None = None, **rest) -> dict:
        times = {} if us is None else {"us": us, "useful TFLOP/s": 300.0}
        return {"name": name, "registers": 136, "CTAs an SM": 1, **times, **rest}

    rows = [row("chain a", 100.0), row("chain b", 80.0), row("chain c", failed="wrong"),
            row("chain d", 120.0), row("chain e", 90.0), row("conv1 a")]  # fmt: skip
    lines = write(candidates={str(i): row for i, row in enumerate(rows)})
    told = [line.split()[:2] for line in lines[2:]]
    assert told == [["chain", "c:"], ["chain", "a"], ["chain", "b"], ["chain", "e"],
                    ["conv1:", "1"]]  # fmt: skip
    assert "80.0 us  1.25x    300 TFLOP/s 136 registers, 1 CTAs an SM" in lines[4]


def test_damaged_files_are_told(write, tmp_path):
    (tmp_path / "probe.json").write_text('{"peak float16": ')
    (tmp_path / "sections.json").write_text("[1]")
    (tmp_path / "counters.json").write_text('{"1": {}}')
    (tmp_path / "records.jsonl").write_text(
        json.dumps(timed(EAGER, 8, 0.01)) + '\n3\n{"a": 1}\n{"schema": 2, "sco'
    )
    lines = write(environment={"gpu": "NVIDIA H100", "commit": None})
    assert lines[1].startswith("NVIDIA H100, driver None")
    assert [line.partition(":")[0] for line in lines if "damaged" in line] == [
        "outcomes", "ceilings", "steps", "counters",
    ]  # fmt: skip
    assert any(line.startswith("float16 b8") and " 800.0 " in line for line in lines)


def test_it_is_short_whatever_happens(write):
    sections = [outcome(f"section_{i}", "failed", "RuntimeError: why " * 40) for i in range(18)]
    lines = write(sections=sections)
    assert len(lines) < 60
    assert max(map(len, lines)) <= WIDTH
