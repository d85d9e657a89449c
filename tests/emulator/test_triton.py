"""compile_kernel; that what it compiles runs is what the other tests show."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.emulator.triton import compile_kernel


def test_what_is_no_kernel():
    with pytest.raises(TypeError, match="is no kernel to compile; was TRITON_INTERPRET=1 set"):
        compile_kernel(lambda: None, {}, {}, arch=80)


def test_attributes_default_to_aligned_pointers(triton_kernel):
    """Four halves at once only where pointers are known to be aligned."""
    x, y = torch.zeros(37, 64).half(), torch.zeros(37, 64).half()
    args, constants = {"x_ptr": x, "y_ptr": y, "n": 37}, {"C": 64, "COLUMNS": 64, "ROWS": 8}
    wide = triton_kernel("softmax", args, constants, 80)
    narrow = triton_kernel("softmax", args, constants, 80, aligned=())
    assert wide.widths["global"] == {8}
    assert narrow.widths["global"] == {2}
