"""What an output may replace, and what it may not. Devices here are nodes of the test's own."""

from __future__ import annotations

import os
import socket
import stat
import threading

import pytest

from r2n_kernels.files import place_of, replace_bytes, replace_text, replacing


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("earlier")
    return path


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(params=["null", "block"])
def device(request, tmp_path):
    """A node for the null device, or for a disk that nobody has; nothing opens either."""
    path = tmp_path / "device.json"
    kind, number = {"null": (stat.S_IFCHR, (1, 3)), "block": (stat.S_IFBLK, (240, 99))}[
        request.param
    ]
    try:
        os.mknod(path, 0o600 | kind, os.makedev(*number))
    except PermissionError:
        pytest.skip("only root makes device nodes")
    return path


def test_a_device_stays_one(device):
    before = os.stat(device)
    with pytest.raises(OSError, match="it is a device"):
        replace_text(device, "{}")
    link = device.with_name("link.json")
    link.symlink_to(device)
    with pytest.raises(OSError, match="it is a device"):
        replace_text(link, "{}")
    assert os.stat(device).st_rdev == before.st_rdev
    assert stat.S_IFMT(os.stat(device).st_mode) == stat.S_IFMT(before.st_mode)
    assert names(device.parent) == ["device.json", "link.json"]


def test_a_pipe_is_written_into(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    replace_bytes(path, b"all of it")
    reader.join(10)
    assert got == [b"all of it"]
    assert stat.S_ISFIFO(os.stat(path).st_mode)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_descriptor_is_written_into_where_it_stands(file, name):
    """As /dev/stdout is where it leads to a file: that file is appended to, not replaced."""
    before = os.stat(file).st_ino
    with open(file, "ab") as opened:
        replace_text(name.format(opened.fileno()), ", later")
        with pytest.raises(OSError, match="it is one of the inputs"):
            replace_text(name.format(opened.fileno()), "", [file])
    assert file.read_text() == "earlier, later"
    assert os.stat(file).st_ino == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        place_of(name.format(987))


def test_a_terminal_of_this_process_takes_rows(monkeypatch):
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    with pytest.raises(OSError, match="it is a device"):
        place_of(name)  # anybody's
    kept = os.dup(2)
    try:
        os.dup2(theirs, 2)
        assert place_of(name).stream
        replace_text(name, "seen")
    finally:
        os.dup2(kept, 2)
    assert os.read(ours, 4) == b"seen"
    for number in (ours, theirs, kept):
        os.close(number)


def test_a_socket_and_a_folder_stay(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="it is a socket"):
            replace_text(tmp_path / "socket", "")
    with pytest.raises(OSError, match="it is a folder"):
        replace_text(tmp_path, "")
    with pytest.raises(OSError, match="it is a folder"):
        replace_text(f"{tmp_path}/new/", "")
    with pytest.raises(OSError, match="there is no such folder"):
        replace_text(tmp_path / "no" / "out.json", "")


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_output_that_is_an_input(file, link):
    output = file
    if link:
        output = file.with_name("another.json")
        link(file, output)
    with pytest.raises(OSError, match="it is one of the inputs"):
        replace_text(output, "", inputs=["no such file", "hf://somewhere", "\0", str(file)])
    assert file.read_text() == "earlier"


def test_mode_stays_and_a_new_file_has_the_usual_one(file):
    file.chmod(0o640)
    replace_text(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    replace_text(file.with_name("new"), "new")
    (file.with_name("other")).touch()
    modes = {stat.S_IMODE(file.with_name(name).stat().st_mode) for name in ("new", "other")}
    assert len(modes) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_ownership_stays(file):
    os.chown(file, 1234, 4321)
    file.chmod(0o4750)
    replace_text(file, "new")
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o4750)


def test_who_could_not_keep_the_owner_is_refused(file, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(file).st_uid + 1)
    with pytest.raises(OSError, match="it belongs to another user or group"):
        replace_text(file, "new")
    assert file.read_text() == "earlier"


def test_what_is_secret_is_never_open_to_others_meanwhile(file):
    file.chmod(0o600)
    with replacing(place_of(file)) as new:
        assert stat.S_IMODE(os.stat(new.name).st_mode) == 0o600
        assert os.path.basename(new.name).startswith("out.json.")


def test_a_pipe_that_came_meanwhile_stays(tmp_path):
    place = place_of(tmp_path / "out.json")
    os.mkfifo(tmp_path / "out.json")
    with pytest.raises(OSError, match="it is no file"), replacing(place):
        pass
    assert stat.S_ISFIFO(os.stat(tmp_path / "out.json").st_mode)


def test_a_link_stays_one(file):
    link = file.with_name("link.json")
    link.symlink_to(file)
    replace_text(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_an_error_leaves_the_old_file_and_nothing_else(file, full_disk):
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "new")
    assert file.read_text() == "earlier"
    assert names(file.parent) == ["out.json"]
