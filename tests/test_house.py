"""The map in CONTRIBUTING.md holds: imports point down its floors, rooms keep their budgets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("kernels", "reference", "benchmarks")  # beside r2n_kernels/, of which they are rooms
ROW = re.compile(r"^\| (\d+) \| (`.+`) \| (.+) \| ([\d,]+) \|$", re.MULTILINE)
TOTAL = re.compile(r"\*\*([\d,]+) lines\*\* in all")


@dataclass(frozen=True)
class Room:
    """One line of the map. names: folders, or files, of r2n_kernels/."""

    floor: int
    names: tuple[str, ...]
    budget: int  # lines


@dataclass(frozen=True)
class Import:
    """target: a module's dotted name below r2n_kernels. for_types: never run."""

    target: str
    for_types: bool


def read_map(text: str) -> list[Room]:
    return [
        Room(int(floor), tuple(re.findall(r"`(\w+)`", names)), int(budget.replace(",", "")))
        for floor, names, _, budget in ROW.findall(text)
    ]


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every module by its dotted name below r2n_kernels; the package itself is ''."""
    found = {}
    for top in ("r2n_kernels", *PARTS):
        for path in (root / top).rglob("*.py"):
            names = [*(() if top == "r2n_kernels" else (top,)), *path.relative_to(root / top).parts]
            names[-1] = names[-1].removesuffix(".py")
            if top != "r2n_kernels" or names[0] not in PARTS:  # some Pythons follow links
                found[".".join(n for n in names if n != "__init__")] = path
    return found


def imports(name: str, path: Path, known: Iterable[str]) -> Iterator[Import]:
    """What a module imports of r2n_kernels, inside of functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name.split(".") if path.name == "__init__.py" and name else name.split(".")[:-1]
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                base = [*package[: len(package) + 1 - node.level], *base]
            elif base[:1] == ["r2n_kernels"]:
                base = base[1:]
            else:
                continue
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                yield Import(inner if inner in known else ".".join(base), id(node) in typed)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "r2n_kernels":
                    yield Import(alias.name.partition(".")[2], id(node) in typed)


def room_of(name: str) -> str:
    return name.split(".")[0] or "__init__"


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that lead back to the first one, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def rising(rooms: Iterable[Room], found: Mapping[str, Iterable[Import]]) -> list[str]:
    """Imports that do not lead to a lower floor, or to what shares a line of the map."""
    lines = {name: room for room in rooms for name in room.names}
    floors = {name: room.floor for name, room in lines.items()}
    return [
        f"{name} (floor {floors[room_of(name)]}) imports {target} (floor {floors[room_of(target)]})"
        for name, targets in found.items()
        for target in sorted({one.target for one in targets})
        if lines[room_of(target)] is not lines[room_of(name)]
        and floors[room_of(target)] >= floors[room_of(name)]
    ]


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rooms(text) -> list[Room]:
    return read_map(text)


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    return sources()


@pytest.fixture(scope="module")
def found(modules) -> dict[str, list[Import]]:
    return {name: list(imports(name, path, modules)) for name, path in modules.items()}


def test_map_has_every_room_once(rooms, modules):
    named = sorted(name for room in rooms for name in room.names)
    assert named == sorted({room_of(name) for name in modules})


def test_imports_point_down(rooms, found):
    assert rising(rooms, found) == []


def test_no_circle_of_files(found):
    """What is imported for types alone makes none: an object may know what holds it."""
    graph = {
        name: {one.target for one in targets if not one.for_types} - {name}
        for name, targets in found.items()
    }
    assert circle(graph) == []


def test_rooms_keep_their_budgets(text, rooms, modules, capsys):
    """Whoever adds a capability raises its room's budget in the same commit, and says why."""
    lines = dict.fromkeys((room.names for room in rooms), 0)
    for room in rooms:
        for name, path in modules.items():
            if room_of(name) in room.names:
                lines[room.names] += len(path.read_text(encoding="utf-8").splitlines())
    total, allowed = sum(lines.values()), int(TOTAL.search(text)[1].replace(",", ""))
    with capsys.disabled():
        print(f"\n{'room':64} {'lines':>6} {'budget':>6}")
        for room in rooms:
            print(f"{', '.join(room.names):64.64} {lines[room.names]:6} {room.budget:6}")
        print(f"{'all':64} {total:6} {allowed:6}")
    over = [
        f"{room.names}: {lines[room.names]}" for room in rooms if lines[room.names] > room.budget
    ]
    assert over == []
    assert total <= allowed


class TestItself:
    """A house of two rooms."""

    ROOMS = (Room(0, ("low",), 9), Room(1, ("high",), 9))

    @staticmethod
    def build(root: Path, **files: str) -> dict[str, list[Import]]:
        for name, content in files.items():
            path = root / "r2n_kernels" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        modules = sources(root)
        return {name: list(imports(name, path, modules)) for name, path in modules.items()}

    def test_a_way_down(self, tmp_path):
        found = self.build(tmp_path, low__a="import re\n", high__b="from ..low import a\n")
        assert found == {"low.a": [], "high.b": [Import("low.a", False)]}
        assert rising(self.ROOMS, found) == []

    @pytest.mark.parametrize(
        "line",
        ["from ..high.b import x", "from r2n_kernels.high import b", "import r2n_kernels.high.b",
         "def f():\n    from ..high import b", "if TYPE_CHECKING:\n    from ..high.b import x"],
    )  # fmt: skip
    def test_a_way_up(self, tmp_path, line):
        (fault,) = rising(self.ROOMS, self.build(tmp_path, low__a=line, high__b="x = 1"))
        assert fault == "low.a (floor 0) imports high.b (floor 1)"

    def test_a_line_of_the_map_is_one_room(self, tmp_path):
        found = self.build(tmp_path, low__a="from ..flat import x", flat="x = 1")
        assert rising([Room(0, ("low", "flat"), 9)], found) == []
        assert len(rising([Room(0, ("low",), 9), Room(0, ("flat",), 9)], found)) == 1

    def test_a_circle(self, tmp_path):
        found = self.build(
            tmp_path, low__a="from . import b", low__b="def f():\n    from .a import x"
        )
        graph = {name: {one.target for one in targets} for name, targets in found.items()}
        assert set(circle(graph)) == {"low.a", "low.b"}

    def test_the_map_is_read(self):
        (room,) = read_map("| floor | room |\n| 3 | `fold`, `plan` | what runs | 1,100 |\n")
        assert room == Room(3, ("fold", "plan"), 1100)
