"""Matrices moved by a warp: every element placed by the PTX ISA's figures."""

from __future__ import annotations

import numpy as np
import pytest

from ..conftest import hand_written

HEAD = """ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.b32 %r2, buf;
mad.lo.s32 %r3, %r1, 16, %r2; mad.wide.u32 %rd2, %r1, 16, %rd1;"""  # a row of a matrix a lane
REGISTERS = {1: "{%r4}", 2: "{%r4, %r5}", 4: "{%r4, %r5, %r6, %r7}"}


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("trans", ["", ".trans"])
def test_load(n, trans):
    """Register i of lane t: elements 2 * (t % 4) and the next of row t // 4 of matrix i."""
    kernel = hand_written(HEAD + f"""ld.global.v4.b32 {{%r4, %r5, %r6, %r7}}, [%rd2];
        st.shared.v4.b32 [%r3], {{%r4, %r5, %r6, %r7}}; bar.warp.sync -1;
        ldmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 {REGISTERS[n]}, [%r3];
        st.global.v4.b32 [%rd2], {{%r4, %r5, %r6, %r7}};""", "u64", shared=512)  # fmt: skip
    data = np.arange(256, dtype=np.uint16)
    matrices = data.reshape(4, 8, 8).swapaxes(1, 2) if trans else data.reshape(4, 8, 8)
    wanted = matrices.reshape(4, 32, 2)[:n].copy()
    counters = kernel.run((1,), [data])
    found = data.reshape(32, 4, 2).swapaxes(0, 1)[:n]
    assert (found == wanted).all()
    assert counters.shared["ldmatrix"].bytes == 128 * n
    assert counters.shared["ldmatrix"].wavefronts == n


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("uniform", [False, True])
def test_store(n, trans, uniform):
    source = "[%rd1]" if uniform else "[%rd2]"  # the same words in all lanes, or not
    kernel = hand_written(HEAD + f"""ld.global.v4.b32 {{%r4, %r5, %r6, %r7}}, {source};
        stmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 [%r3], {REGISTERS[n]};
        bar.warp.sync -1; setp.lt.u32 %p1, %r1, {8 * n};
        @%p1 ld.shared.v4.b32 {{%r8, %r9, %r10, %r11}}, [%r3];
        @%p1 st.global.v4.b32 [%rd2], {{%r8, %r9, %r10, %r11}};""", "u64", shared=512)  # fmt: skip
    data = np.arange(256, dtype=np.uint16)
    words = data.reshape(32, 4, 2).copy()
    if uniform:
        words[:] = words[0]
    wanted = words.swapaxes(0, 1)[:n].reshape(n, 8, 8)
    kernel.run((1,), [data])
    found = data[: 64 * n].reshape(n, 8, 8)
    assert (found == (wanted.swapaxes(1, 2) if trans else wanted)).all()


def test_store_of_what_is_the_same_everywhere():
    """A register that was never spread over lanes and warps."""
    kernel = hand_written(HEAD + """mov.u32 %r4, 7;
        stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r3], {%r4}; bar.sync 0;
        and.b32 %r5, %r1, 31; setp.lt.u32 %p1, %r5, 8; @%p1 ld.shared.b32 %r9, [%r3];
        @%p1 st.global.b32 [%rd2], %r9;""", "u64", shared=1024, warps=2)  # fmt: skip
    data = np.zeros((2, 32, 4), np.uint32)
    kernel.run((1,), [data])
    assert (data[:, :8, 0] == 7).all()
    assert (data[:, 8:] == 0).all()


def test_accesses_of_32_bytes():
    """sm_100 on: eight words, or four of twice the width, at once."""
    eight = ", ".join(f"%r{i}" for i in range(10, 18))
    kernel = hand_written(
        f"""ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mad.wide.u32 %rd2, %r1, 32, %rd1;
        ld.global.v8.b32 {{{eight}}}, [%rd2]; add.s32 %r17, %r17, 1;
        st.global.v8.b32 [%rd2], {{{eight}}};
        ld.global.v4.b64 {{%rd3, %rd4, %rd5, %rd6}}, [%rd2]; add.s64 %rd3, %rd3, 1;
        st.global.v4.b64 [%rd2], {{%rd3, %rd4, %rd5, %rd6}};""", "u64",
    )  # fmt: skip
    data = np.arange(256, dtype=np.int32).reshape(32, 8)
    wanted = data + np.array([1, 0, 0, 0, 0, 0, 0, 1])
    counters = kernel.run((1,), [data])
    assert (data == wanted).all()
    assert counters.global_["ld"].sectors == 64
