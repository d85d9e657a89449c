"""The emulator stands alone: numpy and the standard library, but for what compiles or launches."""

from __future__ import annotations

import ast
import re
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


def test_what_stands_in_for_a_driver_imports_triton_and_torch_late():
    """The emulator is imported where neither is: files that need torch are so in functions."""
    own = {
        path.stem: ast.parse(path.read_text(encoding="utf-8")).body for path in HOST.rglob("*.py")
    }
    lines = {
        name: [ast.unparse(node) for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
        for name, body in own.items()
    }
    late = {name for name, found in lines.items() if "import torch" in found}
    assert late == {"blank", "cuda", "torch_mode"}
    for name in lines.keys() - late:
        found = [line for line in lines[name] if re.search(r"triton|\btorch\b", line)]
        found += [line for line in lines[name] for one in late if f".{one} " in line]
        assert not found, name
