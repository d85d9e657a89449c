"""This file finds the uploaded file in a multipart body (RFC 7578), as `curl -F` sends it."""

from __future__ import annotations

from email.message import Message


def media_type(header: str) -> tuple[str, str | None]:
    """Return a Content-Type's kind in lower case, and its boundary if it has one."""
    message = Message()
    message["content-type"] = header
    boundary = message.get_param("boundary")
    return message.get_content_type(), boundary if isinstance(boundary, str) else None


def first_file(body: bytes, boundary: str) -> bytes | None:
    """Return the content of the first part with a file's name; None if there is none.

    A boundary occurs in no content, by definition, so that splitting there is exact.
    """
    line = b"\r\n--" + boundary.encode("latin-1", "replace")
    for part in (b"\r\n" + body).split(line)[1:-1]:
        head, found, content = part.partition(b"\r\n\r\n")
        if found and b"filename" in head.lower():
            return content
    return None
