"""Processes that decode: the same pixels, an error row for whatever goes wrong, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from PIL import Image

from r2n_kernels.decode import Decoder, Limits, isolated, link
from r2n_kernels.decode.isolated import IsolatedDecoder
from r2n_kernels.errors import ImageError, R2NError

from . import hostile
from .conftest import GEOMETRY
from .hostile import encoded

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
SOON = 10  # seconds that a test waits for what should take none


@pytest.fixture(scope="module")
def processes():
    with IsolatedDecoder(Decoder(GEOMETRY, Limits(seconds=SOON))) as found:
        yield found


@pytest.fixture(scope="module")
def endless():
    return hostile.endless_jpeg(4000, 3000)  # minutes


def child(found):
    """The one process that is idle or at work."""
    (process,) = found._processes
    return process._process


def ended(pid):
    """Wait until no process, not even a zombie, has this number."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def peak(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def begun(found):
    """Start to decode in a thread, and wait until its process is at work; return the thread."""
    found(hostile.png_line(30))  # the process has started
    errors = []

    def load(source):
        try:
            found(source)
        except ImageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=load, args=(hostile.endless_jpeg(4000, 3000),))
    thread.start()
    end = time.monotonic() + SOON
    while time.monotonic() < end and found._idle:
        time.sleep(0.01)
    time.sleep(0.1)
    return thread, errors


class TestHealthy:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
    def test_same_pixels(self, photos, processes, kind):
        content = encoded(photos["china"], kind)
        assert processes(content).tobytes() == processes.decoder(content).tobytes()

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_options_are_those_of_the_decoder(self, photos, mode):
        content = encoded(photos["flower"].resize((1280, 854)), "JPEG")
        decoder = Decoder(replace(GEOMETRY, mode=mode), decode="turbo", mode="L")
        with IsolatedDecoder(decoder) as found:
            assert found(content).tobytes() == decoder(content).tobytes()

    def test_sources(self, photos, processes, save, tmp_path):
        path = save(photos["china"], os.fsdecode(b"caf\xe9.png"))
        expected = processes.decoder(path).tobytes()
        with open(path, "rb") as file:
            for source in (path, str(path), path.read_bytes(), memoryview(path.read_bytes()), file):
                assert processes(source).tobytes() == expected

    def test_reasons_are_those_of_the_decoder(self, processes, tmp_path):
        (tmp_path / "text.png").write_text("no image")
        sources = [
            b"", tmp_path / "missing.png", tmp_path, tmp_path / "text.png", "null\0byte.png",
            "half\ud800surrogate.png", "", hostile.png_claiming(60000, 60000),
            hostile.png_line(20000),
        ]  # fmt: skip
        reasons = []
        for source in sources:
            for decode in (processes, processes.decoder):
                with pytest.raises(ImageError) as caught:
                    decode(source)
                reasons.append(str(caught.value))
        assert reasons[::2] == reasons[1::2]
        with pytest.raises(TypeError, match="not int"):
            processes(7)

    @linux
    def test_one_small_process_for_one_caller(self, photos, processes):
        processes(encoded(photos["china"], "JPEG"))
        pid = child(processes).pid
        processes(encoded(photos["flower"], "JPEG"))
        assert child(processes).pid == pid
        assert peak(pid) < 60 * 2**20
        with open(f"/proc/{pid}/maps") as maps:
            assert not {"torch", "numpy"} & {part for line in maps for part in line.split("/")}

    def test_limit_of_pixels_beyond_pillows(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
        content = encoded(Image.new("RGB", (200, 200)), "PNG")
        for limits, fits in ((Limits(), False), (Limits(pixels=40000), True)):
            with IsolatedDecoder(Decoder(GEOMETRY, limits)) as found:
                if fits:
                    assert found(content).size == (64, 64)
                else:
                    with pytest.raises(ImageError, match="too large"):
                        found(content)


class TestHostile:
    """One reason each, in bounded memory and time."""

    @linux
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (hostile.webp_claiming(16383, 16383), "^too large: 16383x16383 pixels"),
            (hostile.extended_webp_claiming(16383, 16383), "^too large: 16383x16383 pixels"),
            (hostile.png_claiming(60000, 60000), "too large"),
            (hostile.gif_claiming(65535, 65535), "too large"),
            (hostile.tiff_claiming(30000, 30000), "too large"),
            (hostile.jp2_claiming(30000, 30000), "too large"),
            (hostile.png_claiming(9000, 9000), "truncated"),
            (hostile.gif_claiming(9000, 9000), "truncated"),
            (hostile.tiff_claiming(9000, 9000), "truncated"),
            (hostile.png_line(20000), "^too elongated: 20000x1"),
            (hostile.png_line(8_000_000), "^too elongated: 8000000x1"),
            (hostile.png_with_text(b"zTXt", 2**24), "too large"),
            (hostile.png_with_text(b"iTXt", 2**24), "too large"),
            (encoded(Image.new("RGB", (999, 999)), "WEBP")[:200], "damaged"),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_small_file(self, processes, content, reason):
        with pytest.raises(ImageError, match=reason):
            processes(content)
        assert peak(child(processes).pid) < 60 * 2**20

    @pytest.mark.skipif("AVIF" not in Image.SAVE, reason="this Pillow has no AVIF")
    def test_avif(self, processes):
        with pytest.raises(ImageError, match=r"too large|not an image"):
            processes(hostile.avif_claiming(30000, 30000))

    def test_memory(self):
        """81 million pixels are within the limit, but their 0.3 GB are not."""
        content = encoded(Image.new("L", (9000, 9000)), "PNG", compress_level=1)
        with IsolatedDecoder(Decoder(GEOMETRY, Limits(memory=2**27))) as found:
            with pytest.raises(ImageError, match="not enough memory to"):
                found(content)
            pid = child(found).pid
            assert found(hostile.png_line(30)).size == (64, 64)
            assert child(found).pid == pid  # it goes on

    def test_time(self, endless):
        with IsolatedDecoder(Decoder(GEOMETRY, Limits(seconds=1))) as found:
            start = time.monotonic()
            with pytest.raises(ImageError, match=r"^took longer than 1 s$"):
                found(endless)
            assert time.monotonic() - start < SOON
            assert not found._processes
            assert found(hostile.png_line(30)).size == (64, 64)

    @pytest.mark.parametrize(
        ("number", "told"), [(signal.SIGSEGV, "signal 11"), (signal.SIGKILL, "signal 9")]
    )
    def test_death(self, number, told):
        with IsolatedDecoder(Decoder(GEOMETRY)) as found:
            thread, errors = begun(found)
            child(found).send_signal(number)
            thread.join(SOON)
            assert errors == [f"the decoder died ({told})"]
            assert found(hostile.png_line(30)).size == (64, 64)

    def test_death_while_idle_costs_no_image(self, processes):
        processes(hostile.png_line(30))
        child(processes).kill()
        child(processes).wait()
        assert processes(hostile.png_line(30)).size == (64, 64)

    @pytest.mark.parametrize(
        ("kind", "body"),
        [(b"?", b""), (link.PIXELS, b"few"), (link.PIXELS, bytes(64 * 64 * 3 + 1)),
         (link.READY, b"")],
    )  # fmt: skip
    def test_an_answer_that_no_worker_gives(self, monkeypatch, kind, body):
        """A decoder that an image took over says what it likes."""
        with IsolatedDecoder(Decoder(GEOMETRY)) as found:
            found(hostile.png_line(30))
            monkeypatch.setattr(isolated.link, "send", lambda *_: None)
            monkeypatch.setattr(isolated.link, "_exactly", answer(kind, body))
            with pytest.raises(ImageError, match="the decoder died"):
                found(hostile.png_line(30))


def answer(kind, body):
    parts = iter([link.HEAD.pack(kind, len(body)), bytearray(body)])
    return lambda *_: next(parts)


class TestEnd:
    def test_close_kills_at_once(self):
        found = IsolatedDecoder(Decoder(GEOMETRY, Limits(seconds=1000)))
        thread, errors = begun(found)
        pid = child(found).pid
        start = time.monotonic()
        found.close()
        thread.join(SOON)
        assert time.monotonic() - start < SOON / 2
        assert errors == ["the decoder died (signal 9)"]
        assert ended(pid)
        with pytest.raises(R2NError, match="this decoder was closed"):
            found(b"")
        found.close()  # again is harmless

    @linux
    def test_nothing_is_left(self, endless):
        before = sorted(os.listdir("/dev/fd"))
        with IsolatedDecoder(Decoder(GEOMETRY, Limits(seconds=1))) as found:
            for source in (hostile.png_line(30), b"", endless, b"", hostile.png_line(30)):
                try:
                    found(source)
                except ImageError:
                    continue
            pid = child(found).pid
            assert len(os.listdir("/dev/fd")) == len(before) + 2  # a socket and a pipe
        assert sorted(os.listdir("/dev/fd")) == before
        assert ended(pid)

    @linux
    @pytest.mark.parametrize("busy", [True, False])
    def test_dies_with_a_parent_that_is_killed(self, tmp_path, busy, endless):
        (tmp_path / "endless.jpg").write_bytes(endless)
        code = (
            "import sys, threading, time; sys.path[:] = eval(sys.argv[1])\n"
            "from r2n_kernels.decode import *\n"
            "from r2n_kernels.decode.isolated import IsolatedDecoder\n"
            "geometry = Geometry('RGB', (64, 64), 'bilinear', 0.875, 'center')\n"
            "found = IsolatedDecoder(Decoder(geometry, Limits(seconds=1000)))\n"
            "try: found(b'')\n"
            "except ValueError: pass\n"
            "(process,) = found._processes\n"
            "print(process._process.pid, flush=True)\n"
            f"if {busy}: found('endless.jpg')\n"
            "time.sleep(1000)\n"
        )
        command = [sys.executable, "-c", code, repr(sys.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, text=True) as parent:
            pid = int(parent.stdout.readline())
            time.sleep(0.5)
            os.kill(pid, 0)
            parent.kill()
        assert gone_or_zombie(pid)

    def test_that_cannot_start(self, monkeypatch):
        monkeypatch.setattr(isolated, "BOOT", "raise SystemExit(3)")
        with (
            IsolatedDecoder(Decoder(GEOMETRY)) as found,
            pytest.raises(R2NError, match=r"a decoder process did not start \(exit code 3\)"),
        ):
            found(b"")
        assert not found._processes

    def test_killed_as_it_starts(self, monkeypatch):
        """The system kills where memory is short: the next attempt may do."""
        boots = iter(["import os; os.kill(os.getpid(), 9)", isolated.BOOT])
        popen = subprocess.Popen

        def start(command, **options):
            return popen([*command[:-2], next(boots), command[-1]], **options)

        monkeypatch.setattr(isolated.subprocess, "Popen", start)
        with IsolatedDecoder(Decoder(GEOMETRY)) as found:
            assert found(hostile.png_line(30)).size == (64, 64)
            assert len(found._processes) == 1

    def test_no_more_files(self, monkeypatch):
        def refuse(*_, **__):
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(isolated.subprocess, "Popen", refuse)
        before = len(os.listdir("/dev/fd"))
        with (
            IsolatedDecoder(Decoder(GEOMETRY)) as found,
            pytest.raises(R2NError, match=r"did not start \(.*Too many open files\)"),
        ):
            found(b"")
        assert len(os.listdir("/dev/fd")) == before

    def test_other_systems(self, monkeypatch):
        monkeypatch.setattr(isolated.os, "name", "nt")
        with pytest.raises(ValueError, match="needs Linux or macOS"):
            IsolatedDecoder(Decoder(GEOMETRY))


def gone_or_zombie(pid):
    """An orphan's end is noted by whoever adopted it: until then it is a zombie."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False
