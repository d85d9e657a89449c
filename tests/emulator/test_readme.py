"""The README's lines for someone else's kernel, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

KERNELS = """
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    at = tl.program_id(0) * n + column
    x = tl.load(x_ptr + at, mask=column < n, other=float("-inf")).to(tl.float32)
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + at, (e / tl.sum(e, 0)).to(tl.float16), mask=column < n)
"""
CHECK = """
assert (y.float() - x.float().softmax(1)).abs().max() < 1e-3
assert counters.global_["ld"].requests == 64 * 4
"""


def test_a_kernel_of_ones_own(tmp_path):
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (snippet,) = [text for text in snippets if "softmax_kernel" in text]
    (tmp_path / "my_kernels.py").write_text(KERNELS)
    (tmp_path / "try.py").write_text(snippet + CHECK)
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "try.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Counter() ")
