"""What Kernel.run is given: right numbers, or an error that says what was expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import ArgumentError, Kernel
from r2n_kernels.emulator.arguments import checked_grid, checked_value

from .conftest import hand_written

ECHO = {  # stores p1 to p0
    "f32": "ld.param.f32 %r1, [p1]; st.global.b32 [%rd1], %r1;",
    "f64": "ld.param.f64 %rd2, [p1]; st.global.b64 [%rd1], %rd2;",
    "u32": "ld.param.u32 %r1, [p1]; st.global.b32 [%rd1], %r1;",
    "u64": "ld.param.u64 %rd2, [p1]; st.global.b64 [%rd1], %rd2;",
    "b16": "ld.param.b16 %rs1, [p1]; st.global.b16 [%rd1], %rs1;",
}


def echo(ptx: str, kind: str, value, dtype):
    """Return what a kernel finds in a parameter."""
    kernel = hand_written(f"ld.param.u64 %rd1, [p0]; {ECHO[ptx]}", f"u64 {ptx}")
    types = (
        "*" + {"f": "fp", "i": "i"}[np.dtype(dtype).kind] + str(8 * np.dtype(dtype).itemsize),
        kind,
    )
    if kind:
        kernel = Kernel(kernel.ptx, 0, 1, ("out_ptr", "value"), types=types)
    out = np.zeros(1, dtype)
    kernel.run((1,), [out, value], strict=False)
    return out[0]


class TestScalars:
    @pytest.mark.parametrize("kind", ["", "fp32"])
    @pytest.mark.parametrize(
        "value", [3, 3.0, True, np.float32(3), np.float64(3), np.int64(3), torch.tensor(3),
                  torch.tensor(3.0), torch.tensor(3.0).half(), np.array(3)],
    )  # fmt: skip
    def test_a_float_of_anything(self, kind, value):
        assert echo("f32", kind, value, np.float32) == float(value)

    @pytest.mark.parametrize("kind", ["", "i32"])
    @pytest.mark.parametrize("value", [-3, np.int64(-3), np.int8(-3), torch.tensor(-3)])
    def test_an_integer_of_anything(self, kind, value):
        assert echo("u32", kind, value, np.int32) == -3

    def test_other_widths(self):
        assert echo("f64", "fp64", 1 / 3, np.float64) == 1 / 3
        assert echo("u64", "i64", 1 << 40, np.int64) == 1 << 40
        assert echo("b16", "fp16", 1.5, np.float16) == 1.5
        assert echo("b16", "bf16", 1.5, np.int16) == 0x3FC0

    @pytest.mark.parametrize(
        ("ptx", "kind", "value", "text"),
        [
            ("u32", "i32", 3.0, r"value is an integer \(i32\), got 3\.0"),
            ("u32", "i32", np.float32(3), r"value is an integer \(i32\), got .*3\.0"),
            ("u32", "i32", torch.tensor(3.0), r"value is an integer \(i32\), got tensor\(3\.\)"),
            ("u32", "i32", 1 << 31, "value is i32, which cannot hold 2147483648"),
            ("u32", "u32", -1, "value is u32, which cannot hold -1"),
            ("u64", "i64", 1 << 63, "value is i64, which cannot hold 9223372036854775808"),
            ("u32", "i32", None, r"value is a number \(i32\), got None"),
            ("f32", "fp32", "3", r"value is a number \(fp32\), got '3'"),
            ("f32", "fp32", 3j, r"value is a number \(fp32\), got 3j"),
            ("f32", "fp32", np.zeros(4), r"got an array of shape \[4\]"),
            ("u32", "", 3.0, r"p1 is an integer \(u32\), got 3\.0"),
            ("u32", "", 1 << 32, "p1 is u32, which cannot hold 4294967296"),
            ("b16", "", 3.0, "p1 is a float of 16 bits of unknown format: give its bits"),
        ],
    )  # fmt: skip
    def test_what_is_none(self, ptx, kind, value, text):
        with pytest.raises(ArgumentError, match=text):
            echo(ptx, kind, value, np.float32)


class TestPointers:
    @pytest.mark.parametrize(
        ("kind", "array"),
        [("*fp32", torch.zeros(2)), ("*kfp32", np.zeros(2, np.float32)), ("*i1", torch.ones(2) > 0),
         ("*bf16", np.zeros(2, np.uint16)), ("*fp8e4nv", torch.zeros(2, dtype=torch.uint8)),
         ("*fp8e5", torch.zeros(2).to(torch.float8_e5m2)), ("*u64", np.zeros(2, np.uint64)),
         ("*fp32", torch.tensor(1.0)), ("", np.zeros(2))],
    )  # fmt: skip
    def test_arrays(self, kind, array):
        assert checked_value("x_ptr", "u64", kind, array) is array

    def test_no_array(self):
        assert checked_value("x_ptr", "u64", "*fp32", None) == 0
        assert checked_value("x_ptr", "u64", "*fp32", 4096) == 4096

    @pytest.mark.parametrize(
        ("value", "text"),
        [(torch.zeros(2).double(), r"points to fp32, got an array of fp64 \(torch.float64\)"),
         (np.zeros(2, np.int32), r"points to fp32, got an array of i32 \(int32\)"),
         (np.float32(1), r"is a pointer \(\*fp32\), got .*1\.0"),
         (True, r"is a pointer \(\*fp32\), got True"), (1.5, "got 1.5"), ([1.0], r"got \[1.0\]")],
    )  # fmt: skip
    def test_what_is_none(self, value, text):
        with pytest.raises(ArgumentError, match=f"x_ptr {text}" if text[0] != "g" else text):
            checked_value("x_ptr", "u64", "*fp32", value)


class TestCount:
    def kernel(self, params: str, *names: str) -> Kernel:
        return Kernel(hand_written("", params).ptx, 0, 1, names)

    def test_names_say_how_many(self):
        kernel = self.kernel("u64 u64 u32 u64 u64", "x_ptr", "y_ptr", "n")
        kernel.run(1, [None, None, 3])
        kernel.run(1, [None, None, 3, np.zeros(4), None])  # with scratch memory
        with pytest.raises(ArgumentError, match="1 arguments for 3 parameters: y_ptr, n missing"):
            kernel.run(1, [None])
        with pytest.raises(
            ArgumentError, match=r"4 .* for 3 .*\(x_ptr, y_ptr, n\): 128 is too many"
        ):
            kernel.run(1, [None, None, 3, 128])
        with pytest.raises(ArgumentError, match=r"6 arguments for 3 parameters .* compiled in"):
            kernel.run(1, [None, None, 3, None, None, 128])

    def test_only_scratch_may_be_left_out_of_bare_ptx(self):
        kernel = self.kernel("u64 u64 u64 u64")
        kernel.run(1, [None, None])
        with pytest.raises(ArgumentError, match=r"1 arguments for 4 .* of which only the last 2"):
            kernel.run(1, [None])
        with pytest.raises(ArgumentError, match="1 arguments for 2"):
            self.kernel("u64 u32").run(1, [None])


class TestGrid:
    @pytest.mark.parametrize(
        ("grid", "wanted"),
        [(3, (3, 1, 1)), ((3,), (3, 1, 1)), ([2, 3], (2, 3, 1)), ((1, 2, 3), (1, 2, 3)),
         (np.int64(3), (3, 1, 1)), (lambda meta: (meta["n"] // 2, 2), (4, 2, 1)),
         ((0,), (0, 1, 1))],
    )  # fmt: skip
    def test_forms(self, grid, wanted):
        assert checked_grid(grid, {"n": 8}) == wanted

    @pytest.mark.parametrize(
        ("grid", "text"),
        [((1, 2, 3, 4), "one to three integers, got 4"), ((), "one to three integers, got 0"),
         (1.5, r"one to three integers, got 1\.5"), ((1, None), "integers, got"), ("3", "integers"),
         (-1, "0 to 2147483647 programs along x, got -1"),
         ((1, 65536), r"0 to 65535 programs along y, got \(1, 65536\)")],
    )  # fmt: skip
    def test_what_is_none(self, grid, text):
        with pytest.raises(ArgumentError, match=text):
            checked_grid(grid, {})

    @pytest.mark.parametrize("place", [-1, 6])
    def test_programs_that_the_grid_lacks(self, place):
        with pytest.raises(ArgumentError, match=rf"has places 0 to 5, got {place}"):
            hand_written("").run((2, 3), [], ctas=[0, place])

    def test_no_program(self):
        assert not hand_written("").run(0, []).instructions
