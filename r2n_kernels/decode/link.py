"""A parent and a worker process talk through a socket, in messages of a kind and some bytes."""

from __future__ import annotations

import socket
import struct
import time

HEAD = struct.Struct("<cQ")  # kind, bytes that follow
SETUP, PATH, CONTENT = b"s", b"p", b"c"  # to the worker
READY, PIXELS, REFUSED = b"r", b"x", b"e"  # from it
REASON_BYTES = 2**16  # the longest reason that is believed


class Garbled(ConnectionError):
    """A message is not what the other end may send."""


def send(link: socket.socket, kind: bytes, body: bytes = b"") -> None:
    """Send one message; raise TimeoutError after the socket's timeout."""
    link.sendall(HEAD.pack(kind, len(body)))
    link.sendall(body)


def receive(
    link: socket.socket, most: int | None = None, deadline: float | None = None
) -> tuple[bytes, bytearray]:
    """Return kind and body of the next message.

    Raises EOFError where the other end is gone, TimeoutError after the deadline (of
    `time.monotonic`), and Garbled for a body of more than `most` bytes.
    """
    kind, length = HEAD.unpack(_exactly(link, HEAD.size, deadline))
    if most is not None and length > most:
        raise Garbled(f"a message of {length} bytes")
    return kind, _exactly(link, length, deadline)


def allow(link: socket.socket, deadline: float) -> None:
    """Give the next call on the socket the time that is left; raise TimeoutError if none is."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    link.settimeout(left)


def _exactly(link: socket.socket, count: int, deadline: float | None) -> bytearray:
    body = bytearray(count)
    rest = memoryview(body)
    while rest:
        if deadline is not None:
            allow(link, deadline)
        received = link.recv_into(rest)
        if not received:
            raise EOFError
        rest = rest[received:]
    return body
