"""This file finds the uploaded file in a multipart body (RFC 7578), as `curl -F` sends it."""

from __future__ import annotations

from email.message import Message
from email.parser import HeaderParser

PARTS = 100  # that are looked at for a file
HEAD_BYTES = 2**11  # of a part; the name of a file takes some hundreds


def media_type(header: str) -> tuple[str, str | None]:
    """Return a Content-Type's kind in lower case, and its boundary if it has one."""
    message = Message()
    message["content-type"] = header
    boundary = message.get_param("boundary")
    return message.get_content_type(), boundary if isinstance(boundary, str) else None


def first_file(body: bytes, boundary: str) -> bytes | None:
    """Return the content of the first part with a file's name; None if there is none.

    A boundary occurs in no content, by definition, so that cutting there is exact. No further than
    PARTS are looked at: the server's other requests wait meanwhile.
    """
    line, body = b"\r\n--" + boundary.encode("latin-1", "replace"), b"\r\n" + body
    start = body.find(line)
    if start < 0:
        return None
    for _ in range(PARTS):
        start += len(line)
        end = body.find(line, start)
        if end < 0:
            return None
        head = body.find(b"\r\n\r\n", start, min(end, start + HEAD_BYTES))
        if head >= 0 and _names_a_file(body[start:head]):
            return body[head + 4 : end]
        start = end
    return None


def _names_a_file(head: bytes) -> bool:
    message = HeaderParser().parsestr(head.decode("latin-1").lstrip())
    return message.get_param("filename", header="content-disposition") is not None
