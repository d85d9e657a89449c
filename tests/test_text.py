from __future__ import annotations

import os
from pathlib import Path

import pytest

from r2n_kernels.text import Table, counted, printable, text_table, width


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name, 'quoted\".png", "plain name, 'quoted\".png"),
        ("ünï 漢字 🖼.png", "ünï 漢字 🖼.png"),
        ("new\nline\r\t.png", "new\\nline\\r\\t.png"),
        ("\x1b[2Jclear\x7f", "\\x1b[2Jclear\\x7f"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_printable_is_one_line_of_text(name, shown):
    assert printable(name) == shown
    shown.encode("utf-8")


def test_printable_takes_paths():
    assert printable(Path("a/b.png")) == os.path.join("a", "b.png")


def test_counted():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_width_counts_columns_of_a_terminal():
    assert width("abc") == 3
    assert width("漢字") == 4
    assert width("e\N{COMBINING ACUTE ACCENT}") == 1


def test_table_aligns_by_width():
    table = Table([("name", "<6"), ("n", ">3"), ("", "<0")], gap="  ")
    assert table.lines([["漢字", 7, "x"], ["longer name", 1234, ""], ["a"]]) == [
        "name      n",
        "漢字      7  x",
        "longer name  1234",
        "a",
    ]


def test_text_table_is_as_wide_as_its_cells():
    assert text_table([("", "img/s"), ("eager", "1.0"), ("ours", "100.25")]) == [
        "       img/s",
        "eager    1.0",
        "ours  100.25",
    ]
