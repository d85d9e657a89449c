from __future__ import annotations

import io

from r2n_kernels.cli.text import padded, say, width


def test_width_counts_columns_of_a_terminal():
    assert width("abc") == 3
    assert width("漢字") == 4
    assert width("e\N{COMBINING ACUTE ACCENT}") == 1
    assert padded("漢字", 6) == "漢字  "
    assert padded("longer", 3) == "longer"


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
