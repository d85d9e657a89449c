"""Atomics: lanes that meet add up, one after the other, in global and in shared memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import UnsupportedError

from ..conftest import hand_written

# thread i adds to place i % 3 of x (p0), and tells what was there before (p1)
HEAD = """ld.param.u64 %rd1, [p0]; ld.param.u64 %rd3, [p1]; mov.u32 %r1, %tid.x;
rem.u32 %r2, %r1, 3; mad.wide.u32 %rd4, %r2, {size}, %rd1; mad.wide.u32 %rd5, %r1, {size}, %rd3;
"""


def meet(text: str, x: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run `text`, which takes its operands from p1, on the places %rd4: (x, what was there)."""
    size = start.itemsize * (start.shape[1] if start.ndim > 1 else 1)
    kernel = hand_written(HEAD.format(size=size) + text, "u64 u64", warps=2)
    x, start = x.copy(), start.copy()
    kernel.run((1,), [x, start])
    return x, start


@pytest.mark.parametrize(
    ("t", "dtype", "name", "fn"),
    [
        ("f64", np.float64, "add", np.add), ("s64", np.int64, "min", np.minimum),
        ("u64", np.uint64, "max", np.maximum), ("u64", np.uint64, "add", np.add),
        ("s32", np.int32, "max", np.maximum), ("f32", np.float32, "add", np.add),
        ("u32", np.uint32, "inc", lambda old, top: 0 if old >= top else old + 1),
        ("u32", np.uint32, "dec", lambda old, top: top if old == 0 or old > top else old - 1),
    ],
)  # fmt: skip
def test_numbers(t, dtype, name, fn):
    rng = np.random.default_rng(0)
    operands = (rng.integers(0, 9, 64) - (4 if t[0] == "s" else 0)).astype(dtype)
    bits, r = t[1:], "%r9" if t[1:] == "32" else "%rd9"
    found, before = meet(
        f"ld.global.b{bits} {r}, [%rd5]; atom.acq_rel.gpu.global.{name}.{t} {r}, [%rd4], {r};"
        f"st.global.b{bits} [%rd5], {r};", np.full(3, 5, dtype), operands,
    )  # fmt: skip
    x, was = [dtype(5)] * 3, []
    for i, operand in enumerate(operands):
        was.append(x[i % 3])
        x[i % 3] = dtype(fn(x[i % 3], operand))
    assert found.tolist() == x
    assert before.tolist() == was


@pytest.mark.parametrize("t", ["f16", "bf16"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_packed_pairs_and_vectors(t, n):
    """Each sum is rounded, as one lane comes after the other."""
    dtype = torch.float16 if t == "f16" else torch.bfloat16
    operands = torch.randn(64, 2 * n, generator=torch.Generator().manual_seed(0)).to(dtype)
    regs = ", ".join(f"%r{10 + i}" for i in range(n))
    regs, v = (f"{{{regs}}}", f".v{n}") if n > 1 else (regs, "")
    found, _ = meet(
        f"ld.global{v}.b32 {regs}, [%rd5];"
        f"red.relaxed.sys.global{v}.add.noftz.{t}x2 [%rd4], {regs};",
        np.zeros((3, 2 * n), np.int16), operands.view(torch.int16).numpy(),
    )  # fmt: skip
    x = torch.zeros(3, 2 * n, dtype=dtype)
    for i, operand in enumerate(operands):
        x[i % 3] += operand
    assert torch.equal(torch.from_numpy(found).view(dtype), x)


def test_a_vector_of_floats_tells_what_was_there():
    operands = np.arange(128, dtype=np.float32).reshape(64, 2)
    found, before = meet(
        "ld.global.v2.f32 {%r8, %r9}, [%rd5];"
        "atom.global.v2.f32.add {%r8, %r9}, [%rd4], {%r8, %r9};"
        "st.global.v2.f32 [%rd5], {%r8, %r9};",
        np.zeros((3, 2), np.float32), operands,
    )  # fmt: skip
    for place in range(3):
        sums = np.cumsum(operands[place::3], axis=0)
        assert (found[place] == sums[-1]).all()
        assert (before[place::3][1:] == sums[:-1]).all()


@pytest.mark.parametrize(("bits", "r"), [(16, "%rs"), (32, "%r"), (64, "%rd")])
def test_compare_and_swap_of_every_width(bits, r):
    """Who comes first finds 5 and leaves its number; the others find that."""
    numbers = np.arange(1, 65, dtype=f"i{bits // 8}")
    found, before = meet(
        f"ld.global.b{bits} {r}9, [%rd5]; mov.b{bits} {r}8, 5;"
        f"atom.acquire.cta.global.cas.b{bits} {r}9, [%rd4], {r}8, {r}9;"
        f"st.global.b{bits} [%rd5], {r}9;", np.full(3, 5, numbers.dtype), numbers,
    )  # fmt: skip
    assert found.tolist() == [1, 2, 3]
    assert before[:6].tolist() == [5, 5, 5, 1, 2, 3]


def test_shared_memory_of_each_cta():
    """A histogram of the thread numbers modulo 3, by each of two CTAs."""
    kernel = hand_written(
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.b32 %r3, buf;"
        "mad.lo.s32 %r4, %r1, 4, %r3; mov.b32 %r5, 0; st.shared.b32 [%r4], %r5; bar.sync 0;"
        "rem.u32 %r6, %r1, 3; mad.lo.s32 %r6, %r6, 4, %r3; add.s32 %r7, %r2, 1;"
        "atom.shared.add.u32 %r8, [%r6], %r7; red.relaxed.cta.shared::cta.max.u32 [%r6], 1;"
        "bar.sync 0; ld.shared.b32 %r9, [%r4]; mad.lo.s32 %r10, %r2, 64, %r1;"
        "mad.wide.u32 %rd2, %r10, 4, %rd1; st.global.b32 [%rd2], %r9;",
        "u64", shared=256, warps=2,
    )  # fmt: skip
    out = np.zeros((2, 64), np.int32)
    counters = kernel.run((2,), [out])
    assert out[:, :4].tolist() == [[22, 21, 21, 0], [44, 42, 42, 0]]
    assert counters.shared["atom"].requests == 8


@pytest.mark.parametrize(
    "text",
    ["red.async.relaxed.cluster.global.add.u32 [%rd1], 1;",
     "atom.global.cas.b128 %r1, [%rd1], 1, 1;"],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(UnsupportedError, match=text.split(" ")[0]):
        hand_written("ld.param.u64 %rd1, [p0];" + text, "u64")
