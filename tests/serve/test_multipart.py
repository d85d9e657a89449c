from __future__ import annotations

import time
import tracemalloc

import pytest

from r2n_kernels.serve.multipart import PARTS, first_file, media_type

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


@pytest.mark.parametrize(
    "field",
    [
        b'Content-Disposition: form-data; name="filename"\r\n\r\n',
        b'Content-Disposition: form-data; name="a; filename=b"\r\n\r\n',
        b'X-Note: filename="a"\r\nContent-Disposition: form-data; name="b"\r\n\r\n',
    ],
)
def test_a_field_that_speaks_of_a_filename_is_no_file(field):
    assert first_file(form(field + b"hello", FILE + b"abc"), "xyz") == b"abc"


@pytest.mark.parametrize(
    "name", [b"filename=a.png", 'FileName="ü.png"'.encode(), b"filename*=utf-8''a", b'filename=""']
)
def test_names_of_files(name):
    head = b'content-type: image/png\r\ncontent-disposition: form-data; name="a"; '
    assert first_file(form(head + name + b"\r\n\r\nabc"), "xyz") == b"abc"


@pytest.mark.parametrize("part", [b"", b"\r\n" + FIELD])
def test_the_file_is_not_looked_for_forever(part):
    """Millions of parts would make a list of gigabytes, or hold up the server for seconds."""
    body = (b"--x" + part + b"\r\n") * (10**7 // (5 + len(part)))
    tracemalloc.start()
    start = time.process_time()
    assert first_file(body + form(FILE + b"abc").replace(b"xyz", b"x"), "x") is None
    assert time.process_time() - start < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2.5 * len(body)  # no more than copies
    tracemalloc.stop()


def test_a_file_after_many_fields():
    assert first_file(form(*[FIELD] * (PARTS - 1), FILE + b"abc"), "xyz") == b"abc"
    assert first_file(form(*[FIELD] * PARTS, FILE + b"abc"), "xyz") is None
