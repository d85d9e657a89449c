from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.report import text
from r2n_kernels.benchmarks.report.text import amount, file_names, percent, plain


def replaced(record, **changes):
    return dataclasses.replace(record, **changes)


class TestWords:
    @pytest.mark.parametrize(
        ("value", "text"),
        [(12345.6, "12,346"), (123.45, "123.5"), (12.345, "12.35"), (1, "1.000"), (0.1, "0.1"),
         (1e-6, "1e-06"), (None, "–")],
    )  # fmt: skip
    def test_amounts(self, value, text):
        assert amount(value) == text

    def test_shares(self):
        assert [percent(v) for v in (0.7425, None)] == ["74.2 %", "–"]

    def test_plain_is_one_line_that_runs_forwards(self):
        assert plain("a\nb\x00\x1b\u202e\ud800") == "a b" + "\N{REPLACEMENT CHARACTER}" * 4
        assert plain(None) == "–"

    def test_file_names_are_safe_and_each_its_own(self):
        assert file_names(["a-../../etc/passwd", "A b", "a/b", "a?b"]) == [
            "a-..-..-etc-passwd",
            "a-b",
            "a-b-2",
            "a-b-3",
        ]


class TestLabels:
    def test_a_subject_alone(self, record):
        gpu = replaced(record, machine={"gpu": "a GPU"}, backend="triton")
        assert set(text.labels([record, gpu]).values()) == {"r2n_kernels"}

    def test_with_what_tells_apart_in_one_chart(self, record):
        other = replaced(record, backend="triton")
        assert list(text.labels([record, other]).values()) == [
            "r2n_kernels, auto",
            "r2n_kernels, triton",
        ]

    def test_a_machine_may_hold_any_json(self, record):
        odd = replaced(record, machine={"cpu": ["a", {"b": 1}]})
        assert list(text.machine_letters([record, odd, record]).values()) == ["A", "B"]

    def test_more_machines_than_letters(self, record):
        many = [replaced(record, machine={"cpu": str(i)}) for i in range(28)]
        assert list(text.machine_letters(many).values())[24:] == ["Y", "Z", "A1", "B1"]
