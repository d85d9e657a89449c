from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.report import text
from r2n_kernels.benchmarks.report.data import history
from r2n_kernels.benchmarks.report.text import (
    NUMBERS,
    Names,
    amount,
    file_names,
    percent,
    plain,
    table,
)

from .samples import history_of, project


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


class TestTables:
    def test_by_the_names_of_its_columns(self, record):
        records = history_of(record, [0.1, 0.2], runs=5)
        columns = ("subject", "ms before", "ms after", "verdict", "of the sum", "what")
        found = table("c", columns, records, Names.of(records), history(records))
        what = "res2net50_26w_4s, float32, 224x224, batch 8, machine A"
        assert len(found.rows) == 10
        assert found.rows[0] == ("r2n_kernels", "–", "–", "–", "6.7 %", what)
        assert found.rows[-1] == ("r2n_kernels", "100.2", "200.4", "regression", "13.3 %", what)

    def test_an_unknown_column_is_a_mistake(self, record):
        with pytest.raises(KeyError, match="ms befor"):
            table("c", ("ms befor",), [record], Names.of([record]), history([record]))

    def test_numbers_are_told_from_texts(self, record):
        records = project(record)
        numbers = [*(NUMBERS & text.OF_A_RECORD.keys()), *(NUMBERS & text.OF_A_CHANGE.keys())]
        found = table("c", numbers, records, Names.of(records), history(records))
        signs = set("".join(cell for row in found.rows for cell in row)) - set("0123456789")
        assert signs <= set("., %–e-+to")
