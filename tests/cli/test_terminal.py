from __future__ import annotations

import io

from r2n_kernels.cli.terminal import say


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
