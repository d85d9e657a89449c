from __future__ import annotations

import pytest

from r2n_kernels.serve.multipart import first_file, media_type

FILE = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
FIELD = b'Content-Disposition: form-data; name="note"\r\n\r\n'
HARD = bytes(range(256)) + b"\r\n\r\n--x\r\n--\r\n"  # ends of lines, and half a boundary


def form(*parts: bytes) -> bytes:
    return b"".join(b"--xyz\r\n" + part + b"\r\n" for part in parts) + b"--xyz--\r\n"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Image/JPEG", ("image/jpeg", None)),
        ("multipart/form-data; boundary=xyz", ("multipart/form-data", "xyz")),
        ('multipart/form-data; boundary="x y"; charset=a', ("multipart/form-data", "x y")),
    ],
)
def test_media_type(header, found):
    assert media_type(header) == found


def test_the_file_comes_out_bit_for_bit():
    assert first_file(form(FIELD + b"hello", FILE + HARD, FILE + b"second"), "xyz") == HARD


@pytest.mark.parametrize(
    "body",
    [b"", b"--xyz", form(), form(FIELD + b"hello"), form(FILE + b"cut")[:-9], form(b"filename")],
)
def test_no_file(body):
    assert first_file(body, "xyz") is None
