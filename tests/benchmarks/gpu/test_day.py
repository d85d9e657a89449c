from __future__ import annotations

import dataclasses
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from r2n_kernels.benchmarks.gpu import day
from r2n_kernels.benchmarks.gpu.day import sections
from r2n_kernels.benchmarks.gpu.folder import Folder
from r2n_kernels.benchmarks.gpu.main import DEADLINE, ROOT
from r2n_kernels.benchmarks.gpu.place import Place
from r2n_kernels.benchmarks.gpu.section import Section
from r2n_kernels.cli import build_parsers


@pytest.fixture(params=[False, True], ids=["gpu", "dry"])
def place(request, tmp_path) -> Place:
    path = str(tmp_path)  # no ptxas there
    folder = Folder(tmp_path)
    return Place(sys.executable, ROOT, folder, tmp_path / "scratch", path, 4, request.param)


def every(place: Place) -> list[Section]:
    listed = sections(place)
    return [*listed, *(section.otherwise for section in listed if section.otherwise)]


def test_most_important_first(place):
    names = [section.name for section in sections(place) if not section.name.startswith("timm")]
    assert names == [
        "install", "environment", "warm", "selftest_quick", "probe", "candidates", "bench",
        "steps", "pytest", "forward", "selftest", "ncu", "bench_bf16", "memcheck", "racecheck",
    ]  # fmt: skip


def test_names_are_unique_and_meet(place):
    listed = sections(place)
    names = [section.name for section in listed]
    assert len(set(names)) == len(names)
    for number, section in enumerate(listed):
        assert section.begins_with in ("", *names[:number])
        assert bool(section.build) <= bool(section.begins_with)


def test_needs_are_known(place):
    for section in every(place):
        assert all(isinstance(place.missing(need), str) for need in section.needs)
        assert not section.setup or not section.needs
        assert place.dry or section.setup or "gpu" in section.needs
        assert not (place.dry and section.needs)


def test_commands_are_understood(place):
    """By the parsers of r2n, and by Python: files and modules exist."""
    for section in every(place):
        for _, *words in section.commands:
            if words[:2] == ["-m", "r2n_kernels.cli"]:
                assert build_parsers(words[2])[0].parse_args(words[2:]).run
            elif "-m" in words:
                assert find_spec(words[words.index("-m") + 1])
            else:
                assert Path(words[0]).is_file()


def test_all_fits(place):
    """Compiled and measured, with what is less important, in the time that it has."""
    seconds = {section.name: section.seconds for section in sections(place)}
    if not place.dry:
        first = ("warm", "selftest_quick", "probe", "candidates", "bench")
        assert sum(seconds[name] for name in first) < DEADLINE
    assert all(0 < value <= 600 for value in seconds.values())


def test_gpu_tests_are_found(place):
    (pytest_,) = [s for s in sections(place) if s.name == "pytest"]
    words = " ".join(pytest_.commands[0])
    assert "-m gpu and not slow" in words
    for name in ("engine/test_triton_gpu.py", "measure/test_timing.py", "model/test_res2net.py"):
        assert str(ROOT / "tests" / name) in words
    assert "test_charts.py" not in words


def test_pytest_is_parallel_where_it_can_be(place, monkeypatch):
    for found in (None, object()):
        monkeypatch.setattr(day, "find_spec", lambda name, found=found: found)
        (command,) = next(s for s in sections(place) if s.name == "pytest").commands
        assert ("-n" in command) == (found is not None and not place.dry)


def test_another_assembler_is_tried(place, tmp_path):
    tool = tmp_path / "ptxas"
    shutil.copy(sys.executable, tool)
    (section,) = [s for s in sections(place) if s.name == "selftest_quick"]
    if place.dry:
        assert section.otherwise is None
        return
    assert section.otherwise.env == {"TRITON_PTXAS_PATH": str(tool)}
    warm, quick = section.otherwise.commands
    assert "warm" in warm
    assert (quick,) == section.commands


def test_links_are_asked_for(place):
    (command,) = sections(dataclasses.replace(place, links=True))[0].commands
    assert command[-1] == "--links"
    assert sections(place)[0].commands[0][-1] != "--links"
