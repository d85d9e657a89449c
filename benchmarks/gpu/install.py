"""Makes the package importable without a network: editable, or a folder of links where pip fails.

usage: install.py ROOT SITE [--links]        SITE is on PYTHONPATH
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PARTS = ("kernels", "reference", "benchmarks")  # beside r2n_kernels/, installed inside of it
PIP = ("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-e")
TRY = "import r2n_kernels.benchmarks, r2n_kernels.kernels, r2n_kernels.reference"


def main(argv: list[str]) -> int:
    root, site = Path(argv[0]).resolve(), Path(argv[1])
    done = "installed from this checkout already"
    if "--links" in argv:
        link(root, site)
        done = "links"
    elif not here(root):
        pip = subprocess.run([sys.executable, *PIP, str(root)], check=False)
        done = "pip install -e"
        if pip.returncode:
            link(root, site)
            done = f"links, because pip ended with {pip.returncode}"
    if subprocess.run([sys.executable, "-c", TRY], check=False).returncode:
        return 1
    print(f"{done}: {root}")
    return 0


def here(root: Path) -> bool:
    """Whether the package is installed, and is this checkout."""
    spec = find_spec("r2n_kernels")
    return bool(spec and spec.origin) and Path(spec.origin).resolve().parents[1] == root


def link(root: Path, site: Path) -> None:
    """SITE/r2n_kernels: links to what setup.py installs there."""
    package = site / "r2n_kernels"
    package.mkdir(parents=True, exist_ok=True)
    sources = [p for p in (root / "r2n_kernels").iterdir() if p.name != "__pycache__"]
    for source in (*sources, *(root / part for part in PARTS)):
        (package / source.name).symlink_to(source)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
