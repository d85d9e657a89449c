"""A worker process decodes what its parent sends, within limits that the system enforces."""

from __future__ import annotations

import fcntl
import math
import os
import pickle
import resource
import select
import socket
import sys
from typing import Any

from PIL import Image

from ..errors import ImageError
from . import link
from .decoder import Decoder
from .limits import Limits


def main(lifeline: int) -> None:
    """Answer each message from standard input, a socket, until its other end is closed.

    `lifeline` is a pipe that ends with the parent: then this process is killed, at once.
    """
    _die_with(lifeline)
    parent = socket.socket(fileno=0)
    try:
        _, setup = link.receive(parent)
        decoder, most_pixels = pickle.loads(setup)
        _restrict(decoder.limits, most_pixels)
        link.send(parent, link.READY)
        while True:
            kind, body = link.receive(parent)
            source = os.fsdecode(bytes(body)) if kind == link.PATH else body
            link.send(parent, *_answer(decoder, source))
    except (EOFError, ConnectionError):
        return
    except MemoryError:  # for the message itself
        raise SystemExit(1) from None


def _answer(decoder: Decoder, source: str | bytearray) -> tuple[bytes, bytes]:
    try:
        return link.PIXELS, decoder(source).tobytes()
    except ImageError as error:
        reason = str(error)
    except MemoryError:
        reason = "not enough memory to prepare it"
    return link.REFUSED, reason.encode("utf-8", "backslashreplace")[: link.REASON_BYTES]


def _die_with(lifeline: int) -> None:
    """Have the system send SIGIO, which ends a process, as soon as the pipe's other end closes.

    A decoder is C code that sees neither a closed socket nor a Python signal handler.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was closed before
        raise SystemExit(1)


def _restrict(limits: Limits, most_pixels: int | None) -> None:
    Image.MAX_IMAGE_PIXELS = most_pixels if limits.pixels is None else limits.pixels
    Image.init()
    avif: Any = sys.modules.get("PIL.AvifImagePlugin")  # old Pillows have none
    if avif is not None:
        avif.DEFAULT_MAX_THREADS = 1  # there are as many workers as cores, and stacks are memory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = min(limits.worker_bytes, math.inf if hard == resource.RLIM_INFINITY else hard)
    if allowed < math.inf:
        resource.setrlimit(resource.RLIMIT_DATA, (int(allowed), int(allowed)))
