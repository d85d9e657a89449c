"""The lines for someone else's kernel in the emulator's README run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ..documents import KERNELS, ROOT
from .conftest import compiling

PAGE = """
assert (y.float() - x.float().softmax(1)).abs().max() < 1e-3
assert "my_kernels.py" in open("softmax.html").read()
"""


def run(text: str, folder: Path) -> str:
    (folder / "my_kernels.py").write_text(KERNELS)
    (folder / "try.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "try.py"], cwd=folder, env=compiling(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def snippets(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def test_the_emulators_own_readme(tmp_path):
    launched, ptx = snippets("r2n_kernels/emulator/README.md")
    assert 0.5 < float(run(launched + PAGE, tmp_path)) < 1  # rows of 200 bytes
    assert "import torch" not in ptx
    run(ptx, tmp_path)
