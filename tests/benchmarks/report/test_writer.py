from __future__ import annotations

from dataclasses import replace

import pytest

from r2n_kernels.benchmarks.report import writer
from r2n_kernels.benchmarks.report.data import history
from r2n_kernels.benchmarks.report.text import Names
from r2n_kernels.benchmarks.report.writer import NUMBERS, Writer

from .samples import history_of, project


class TestTables:
    def test_by_the_names_of_its_columns(self, record):
        records = history_of(record, [0.1, 0.2], runs=5)
        columns = ("subject", "ms before", "ms after", "verdict", "of the sum", "what")
        found = Writer(Names.of(records), history(records)).table("c", columns, records)
        what = "res2net50_26w_4s, float32, 224x224, batch 8, machine A"
        assert len(found.rows) == 10
        assert found.rows[0] == ("r2n_kernels", "–", "–", "–", "6.7 %", what)
        assert found.rows[-1] == ("r2n_kernels", "100.2", "200.4", "regression", "13.3 %", what)

    def test_percentiles_are_of_all_samples(self, record):
        record = replace(record, samples=((0.1, 0.3), (0.4,), (0.8,)))
        columns = ("p50 ms", "p90 ms")
        table = Writer(Names.of([record]), history([record])).table("c", columns, [record])
        assert table.rows == (("350.0", "680.0"),)

    def test_an_unknown_column_is_a_mistake(self, record):
        with pytest.raises(KeyError, match="ms befor"):
            Writer(Names.of([record]), history([record])).table("c", ("ms befor",), [record])

    def test_numbers_are_told_from_texts(self, record):
        records = project(record)
        numbers = [*(NUMBERS & writer.OF_A_RECORD.keys()), *(NUMBERS & writer.OF_A_CHANGE.keys())]
        found = Writer(Names.of(records), history(records)).table("c", numbers, records)
        signs = set("".join(cell for row in found.rows for cell in row)) - set("0123456789")
        assert signs <= set("., %–e-+to")
