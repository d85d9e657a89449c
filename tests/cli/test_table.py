from __future__ import annotations

from r2n_kernels.cli.table import TextTable
from r2n_kernels.results import Row


def test_table_is_aligned(capsys):
    table = TextTable()
    first = Row("a.png", None, [(3, "cat", 0.5), (200, None, 0.25)])
    table.write([first, Row("漢字.png", "no such file")])
    table.write([Row("x" * 60 + ".png", None, [(1, "new\nline", 1.0)])])
    assert capsys.readouterr().out.splitlines() == [
        "path      status  probability  index  label",
        "a.png     ok           50.00%      3  cat",
        "                       25.00%    200",
        "漢字.png  error   no such file",
        "x" * 60 + ".png",
        "          ok          100.00%      1  new\\nline",
    ]
