"""What a kernel compiles to is decided by the file of its module, and those that this imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


def sources_of(module: str) -> tuple[Path, ...]:
    """Return the files of a module and of all modules of its own package that it imports.

    Imports are followed, those within functions too; no module is run. Raises ModuleNotFoundError
    for a module that is not there.
    """
    top = module.partition(".")[0]
    spec = find_spec(top)
    root = Path(spec.origin).parents[1] if spec is not None and spec.origin else Path()
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = root.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if name not in found and file.is_file():  # none: a function that is imported by name
                found[name] = file
                waiting += [each for each in _imports(name, file) if each.startswith(f"{top}.")]
    if module not in found:
        raise ModuleNotFoundError(f"no module '{module}' has a file")
    return tuple(found[name] for name in sorted(found))


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yield the modules that a file imports, and what it imports of them, by dotted names."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
