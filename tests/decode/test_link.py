from __future__ import annotations

import socket
import threading
import time

import pytest

from r2n_kernels.decode import link


@pytest.fixture
def ends():
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_a_message_larger_than_any_buffer(ends):
    here, there = ends
    body = bytes(range(256)) * 2**14
    thread = threading.Thread(target=link.send, args=(here, link.CONTENT, body))
    thread.start()
    assert link.receive(there) == (link.CONTENT, body)
    thread.join()
    link.send(there, link.READY)
    assert link.receive(here, 0) == (link.READY, b"")


def test_other_end_is_gone(ends):
    here, there = ends
    there.sendall(link.HEAD.pack(link.PIXELS, 100) + b"some")
    there.close()
    with pytest.raises(EOFError):
        link.receive(here)


def test_a_length_is_not_believed(ends):
    here, there = ends
    there.sendall(link.HEAD.pack(link.PIXELS, 2**60))
    with pytest.raises(link.Garbled, match=f"a message of {2**60} bytes"):
        link.receive(here, 1000)


@pytest.mark.parametrize("sent", [b"", link.HEAD.pack(link.PIXELS, 9) + b"some"])
def test_deadline(ends, sent):
    here, there = ends
    there.sendall(sent)
    with pytest.raises(TimeoutError):
        link.receive(here, 100, time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        link.receive(here, 100, time.monotonic() - 1)


def test_deadline_of_an_end_that_does_not_read(ends):
    here, _ = ends
    link.allow(here, time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        link.send(here, link.CONTENT, bytes(2**24))
