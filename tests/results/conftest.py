from __future__ import annotations

import os

import pytest


@pytest.fixture
def hard_names() -> list[str]:
    """File names that break careless writers."""
    return [
        "plain.png",
        'quote".png',
        "comma,semicolon;tab\t.png",
        "new\nline.png",
        "carriage\rreturn\r\n.png",
        " spaces around ",
        "ünïcödé 漢字 🖼.png",
        os.fsdecode(b"caf\xe9\xff\x80.png"),
        "\\udcff backslash.png",
        "",
    ]
