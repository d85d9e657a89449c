from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from r2n_kernels.cli.text import counted, padded, printable, say, width


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


def test_width_counts_columns_of_a_terminal():
    assert width("abc") == 3
    assert width("漢字") == 4
    assert width("e\N{COMBINING ACUTE ACCENT}") == 1
    assert padded("漢字", 6) == "漢字  "
    assert padded("longer", 3) == "longer"


def test_counted():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_say_where_standard_error_is_closed(capsys, monkeypatch):
    say("heard")
    monkeypatch.setattr("sys.stderr", None)
    say("lost")
    assert capsys.readouterr() == ("", "heard\n")


def test_say_goes_to_the_current_standard_error(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    say("here")
    assert stream.getvalue() == "here\n"
