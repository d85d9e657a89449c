"""A report's numbers are those of the launch, by lines, and its text is safe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from r2n_kernels.emulator import Counters, Kernel, Section, page, report
from r2n_kernels.emulator.report import COLUMNS, by_line

from .conftest import hand_written

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Launched:
    name: str
    kernel: Kernel
    counters: Counters


@pytest.fixture(scope="module", params=[80, 90])
def launched(gemm, request) -> Launched:
    case = gemm(m=80, n=128, relu=True)
    kernel = case.kernel(request.param)
    return Launched("gemm_kernel", kernel, case.run(kernel)[2])


def numbers(text: str) -> dict[str, list[int]]:
    """The page's numbers by column, of lines; the first row is the total."""
    return {
        name: [
            int(value.replace(",", ""))
            for value in re.findall(rf'data-name="{name}"[^>]*>([\d,]+)<', text)
        ]
        for name in COLUMNS
    }


def test_the_lines_add_up_to_the_total(launched):
    found = numbers(report([launched]))
    for name in set(COLUMNS) - {"useful"}:
        total, lines = found[name][:1], found[name][1:]
        assert sum(lines) == sum(total), name
    assert found["MACs"][0] == launched.counters.macs
    assert found["instr"][0] == launched.counters.instructions.total()
    assert found["sectors"][0] * 32 == launched.counters.global_bytes


def test_every_line_that_ran_is_there_with_its_source(launched):
    text, source = report([launched]), WORKER.read_text(encoding="utf-8").splitlines()
    found = by_line(Section("", launched.kernel.ptx, launched.counters))[str(WORKER)]
    rows = dict(re.findall(r'<tr><th>(\d+)</th><td class="code">(.*?)</td>', text))
    assert found.keys() <= set(map(int, rows))
    for line in found:
        assert unescape(rows[str(line)]) == source[line - 1]
    (product,) = [line for line, work in found.items() if work.macs]
    assert "tl.dot(" in source[product - 1]


def test_what_the_library_does_counts_where_it_is_called(triton_kernel):
    import torch

    x, y = torch.randn(4, 64).half(), torch.empty(4, 64).half()
    kernel = triton_kernel(
        "softmax", {"x_ptr": x, "y_ptr": y, "n": 4}, {"C": 64, "COLUMNS": 64, "ROWS": 4}, 80
    )
    counters = kernel.run((1,), [x, y, 4])
    assert any(source.startswith("standard.py") for source in counters.lines)
    found = by_line(Section("", kernel.ptx, counters))
    direct = {s for s in counters.lines if s.startswith("standard.py") and " from worker" not in s}
    lines = {path for path in found if path != str(WORKER)}
    assert bool(lines) == bool(direct)


def test_text_is_escaped():
    kernel = hand_written("mov.u32 %r1, %tid.x;")
    counters = kernel.run((1,), [])
    text = page([Section("<script>alert(1)</script>", kernel.ptx, counters)], "a & b")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<title>a &amp; b</title>" in text


def test_findings_are_shown(tmp_path):
    kernel = hand_written("ld.param.u64 %rd1, [p0]; ld.global.b32 %r1, [%rd1];", "u64")
    counters = kernel.run((1,), [None], strict=False)
    file = tmp_path / "page.html"
    text = report([Launched("t", kernel, counters)], file)
    assert file.read_text(encoding="utf-8") == text
    assert '<p class="bad">[bounds]' in text


def test_nothing_comes_from_the_network(launched):
    text = report([launched, launched])
    assert "2 launches" in text
    assert not re.search(r"(?:src|href|url\()", text.replace("color-scheme", ""))


def test_an_empty_report_says_so():
    assert "Nothing was launched" in report([])
