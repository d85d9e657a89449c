"""Make the package importable without a network: editable, or by a link where pip fails.

usage: install.py ROOT SITE [--links]        SITE is on PYTHONPATH
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PIP = ("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-e")
TRY = "import r2n_kernels.benchmarks, r2n_kernels.kernels, r2n_kernels.reference"


def main(argv: list[str]) -> int:
    root, site = Path(argv[0]).resolve(), Path(argv[1])
    done = "installed from this checkout already"
    if "--links" in argv:
        link(root, site)
        done = "a link"
    elif not here(root):
        pip = subprocess.run([sys.executable, *PIP, str(root)], check=False)
        done = "pip install -e"
        if pip.returncode:
            link(root, site)
            done = f"a link, because pip ended with {pip.returncode}"
    if subprocess.run([sys.executable, "-c", TRY], check=False).returncode:
        return 1
    print(f"{done}: {root}")
    return 0


def here(root: Path) -> bool:
    """Return whether the package is installed, and is this checkout."""
    spec = find_spec("r2n_kernels")
    origin = spec.origin if spec else None
    return origin is not None and Path(origin).resolve().parents[1] == root


def link(root: Path, site: Path) -> None:
    """Put a link to the package where SITE is imported from."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "r2n_kernels").symlink_to(root / "r2n_kernels")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
