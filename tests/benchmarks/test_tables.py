from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks import tables
from r2n_kernels.benchmarks.network import Result
from r2n_kernels.benchmarks.peak import Peak
from r2n_kernels.benchmarks.peers import PEERS, our_peer
from r2n_kernels.benchmarks.recorder import Recorder
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.measure.timing import Samples
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.tolerance import Verdict

PLAN = build_plan(VARIANTS[HEADLINE], 8, 224, 224)
PEAK = Peak(1e12, 1e10, "a test")
VERDICT = Verdict("logits", 3e-7, 2e-7, 1e-5, torch.float32)
EAGER = Result(
    PEERS["timm"], Samples("eager", ((0.4, 0.4), (0.8, 0.8))), None, 300_000_000, VERDICT
)
OURS = Result(our_peer("torch"), Samples("ours", ((0.2, 0.2), (0.4, 0.4))), None, None, VERDICT)
LEFT = Result(PEERS["openvino"], left_out="is not here")


def test_rates_follow_from_the_plan():
    titles, eager, ours = tables.network_table([LEFT, EAGER, OURS], PLAN, PEAK)
    shown = dict(zip(titles, ours, strict=True))
    assert shown == {
        "subject": "r2n_kernels, torch", "img/s": "26.67", "p50 ms": "300.0", "p90 ms": "400.0",
        "p99 ms": "400.0", "GMAC/s": f"{8 * 8.066974464 / 0.3:.1f}",
        "of peak": f"{2e9 * 8 * 8.066974464 / 0.3 / 1e12:.0%}", "MB": "-", "error": "3e-07",
        "speed-up": "2.00x",
    }  # fmt: skip
    shown = dict(zip(titles, eager, strict=True))
    assert (shown["img/s"], shown["MB"], shown["speed-up"]) == ("13.33", "300", "1.00x")
    _, alone = tables.network_table([LEFT, OURS], PLAN, PEAK)
    assert alone[-1] == "-"
    assert tables.network_table([LEFT], PLAN, PEAK) == [tables.TITLES]


def test_whom_speed_ups_are_over():
    first = dataclasses.replace(EAGER, peer=PEERS["timm-nchw"])
    assert tables.base_of([LEFT, first, EAGER]) == EAGER
    assert tables.base_of([LEFT, first, OURS]) == first
    assert tables.base_of([LEFT, OURS]) is None


def test_waits_are_shown_where_they_were_measured():
    waited = [
        dataclasses.replace(
            result,
            samples=dataclasses.replace(
                result.samples, wall=((0.3,), (0.1, 0.2)), host=((0.01,), (0.03, 0.02))
            ),
        )
        for result in (EAGER, OURS)
    ]
    titles, *cells = tables.network_table(waited, PLAN, PEAK)
    assert titles[4:8] == ("p99 ms", "wall ms", "host ms", "GMAC/s")
    assert [row[5:7] for row in cells] == [["200.000", "20.000"]] * 2
    assert cells[0][2] == "600.000"
    assert {len(row) for row in cells} == {len(titles)}
    (record,) = Recorder(HEADLINE, torch.device("cpu")).networks(waited[:1], PLAN, PEAK, "model")
    assert (record.wall, record.host) == (((0.3,), (0.1, 0.2)), ((0.01,), (0.03, 0.02)))


def test_costs_beside_the_card():
    assert tables.costs(PLAN) == {
        "parameters": "45.21 M", "MACs": "8.067 G", "activations": "18.45 M",
    }  # fmt: skip


def test_markdown():
    rows = [("a", "b"), ("long", "1")]
    assert tables.markdown_table(rows) == ["| a | b |", "|---|--:|", "| long | 1 |"]


def test_between_the_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    for text in ("new", r"\1 | \g<0>"):
        tables.put_between_marks(path, text)
        assert path.read_text() == f"before\n{tables.BEGIN}\n{text}\n{tables.END}\nafter\n"


@pytest.mark.parametrize("text", ["", tables.BEGIN, f"{tables.END} {tables.BEGIN}"])
def test_without_marks_nothing_is_written(text, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ConfigError, match="has no lines '<!-- r2n bench: begin -->'"):
        tables.put_between_marks(path, "new")
    assert path.read_text() == text
    with pytest.raises(ConfigError, match="No such file"):
        tables.find_marks(tmp_path / "none.md")


def test_records_of_those_that_were_timed():
    noisy = dataclasses.replace(OURS, again=Samples("again", ((0.2,), (0.4,))))
    recorder = Recorder(HEADLINE, torch.device("cpu"))
    eager, ours = recorder.networks([LEFT, EAGER, noisy], PLAN, PEAK, "model")
    assert (eager.subject, eager.backend, eager.memory) == (
        EAGER.peer.subject,
        "torch",
        300_000_000,
    )
    assert (eager.bytes, eager.again) == (None, ())
    assert ours.bytes == PLAN.bytes_read + PLAN.bytes_written + PLAN.weight_bytes
    assert ours.macs == 8 * 8_066_974_464
    assert ours.samples == OURS.samples.rounds
    assert ours.again == ((0.2,), (0.4,))
    assert (ours.step, ours.count, ours.scope) == (None, 1, "model")
    assert ours.parity == {"passed": True, "error": 3e-7, "limit": 1e-5}
    assert (ours.wall, ours.host, ours.bytes_l2) == (None, None, None)


def test_narrow_tables_fit_a_terminal():
    rows = [("subject", "img/s", "GMAC/s"), ("timm torch.compile, channels_last", "1.00", "9.9")]
    head, row = tables.narrow(rows, 30)
    assert head == ("subject", "img/s")
    assert row == ("timm torch.…hannels_last", "1.00")
    assert tables.narrow(rows)[1] == (rows[1][0], "1.00")
