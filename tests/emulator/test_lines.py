"""What is refused says which line of Python asked for it."""

from __future__ import annotations

import re

import pytest

from r2n_kernels.emulator import UnsupportedError
from r2n_kernels.emulator.lines import python_line, source_paths

from .conftest import hand_written


@pytest.fixture
def header(tmp_path) -> str:
    (tmp_path / "k.py").write_text("def kernel(x):\n    y = odd(x)\n", encoding="utf-8")
    return f'.file 1 "{tmp_path}" "k.py"\n.file 2 "/nowhere/device.py"\n'


def refusal(text: str, header: str = "") -> str:
    with pytest.raises(UnsupportedError) as error:
        hand_written(text, "u64", header=header)
    return str(error.value)


def test_lines_of_python(header, tmp_path):
    assert source_paths(header) == {"k.py": f"{tmp_path}/k.py", "device.py": "/nowhere/device.py"}
    assert python_line(header, "k.py:2") == "y = odd(x)"
    assert python_line(header, "device.py:5 from k.py:1") == "def kernel(x):"
    for source in ("device.py:5", "else.py:1", "k.py:99", "?"):
        assert python_line(header, source) == ""


def test_a_refusal_says_what_and_where(header):
    text = "\n.loc 1 2 0\nbmsk.most.b32 %r1, %r2, %r3;"
    wanted = "k.py:2: not emulated: modifier most in bmsk.most.b32 %r1, %r2, %r3 | y = odd(x)"
    assert refusal(text, header) == wanted
    unknown = "\n.loc 2 7 0, function_name X, inlined_at 1 2 0\nfrobnicate.b32 %r1, %r2;"
    place = "device.py:7 from k.py:2"
    wanted = f"{place}: not emulated: instruction frobnicate.b32 %r1, %r2 | y = odd(x)"
    assert refusal(unknown, header) == wanted


def test_a_refusal_without_lines():
    assert refusal("mov.u32 %r1, %pm0;") == "not emulated: operand %pm0 in mov.u32 %r1, %pm0"
    many = ", ".join(f"%r{i % 40}" for i in range(64))
    assert re.fullmatch(
        r"not emulated: instruction wgmma\.odd .{0,100}", refusal(f"wgmma.odd {{{many}}};")
    )
