"""The emulator stands alone: numpy and the standard library, but for the helper that compiles."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import r2n_kernels.emulator

FOLDER = Path(r2n_kernels.emulator.__file__).parent
COMPILES = FOLDER / "triton.py"
HOST = FOLDER / "host"  # stands in for Triton's driver, and answers for torch


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports, and ".." where it leaves the package."""
    depth = len(path.relative_to(FOLDER).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > depth:
            found.add("..")
    return found


def test_only_numpy_and_the_standard_library():
    files = [path for path in FOLDER.rglob("*.py") if path != COMPILES and HOST not in path.parents]
    assert len(files) > 20
    for path in files:
        foreign = imported(path) - set(sys.stdlib_module_names)
        assert foreign <= {"numpy"}, path.name


def test_the_helper_needs_triton_alone():
    assert imported(COMPILES) - set(sys.stdlib_module_names) == {"triton"}


def test_what_stands_in_for_a_driver_needs_triton_and_torch_late():
    """Imported inside functions: the emulator is imported where neither is."""
    for path in HOST.rglob("*.py"):
        assert imported(path) - set(sys.stdlib_module_names) <= {"numpy", "torch", "triton"}
        top = ast.parse(path.read_text(encoding="utf-8")).body
        names = {
            ast.unparse(node) for node in top if isinstance(node, (ast.Import, ast.ImportFrom))
        }
        assert not [name for name in names if "torch" in name or "triton" in name]
