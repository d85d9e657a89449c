"""The emulator in an environment that has numpy and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy
import pytest

from .conftest import hand_written

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = """ld.param.u64 %rd1, [p0]; ld.param.u32 %r2, [p1]; mov.u32 %r1, %tid.x;
mad.wide.u32 %rd1, %r1, 4, %rd1; ld.global.b32 %r3, [%rd1]; mul.lo.s32 %r3, %r3, %r2;
st.global.b32 [%rd1], %r3;"""
SCRIPT = """
import importlib.util, sys
import numpy as np
from r2n_kernels.emulator import Kernel, emulator, mutants

assert [name for name in ("torch", "PIL", "triton") if importlib.util.find_spec(name)] == []
x = np.arange(32, dtype=np.int32)
counters = Kernel(open("double.ptx").read(), 0, 1, ["x_ptr", "factor"]).run(1, [x, np.int64(3)])
assert (x == 3 * np.arange(32)).all()
print(counters.global_["ld"].bytes)
try:
    emulator(arch=90).__enter__()
except ModuleNotFoundError as error:
    print(error)
import r2n_kernels
from r2n_kernels import ConfigError
assert "create_model" in dir(r2n_kernels)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a virtual environment with links to numpy's files."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    installed = Path(numpy.__file__).parents[1]
    for part in ("numpy", "numpy.libs"):
        if (installed / part).exists():
            (site / part).symlink_to(installed / part)
    (site / "checkout.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_numpy_is_enough(python, tmp_path):
    (tmp_path / "double.ptx").write_text(hand_written(DOUBLE, "u64 u32").ptx)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TRITON"))}
    done = subprocess.run(
        [python, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "128\nNo module named 'triton'\n"
