"""Pieces of the resident chain: its weights and rows come in, its results go out.

What moves between registers and shared memory moves as 32-bit words: of 16-bit elements the
compiler proves no alignment, and loads half of them one by one.
"""

import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy

NAN = gl.constexpr(tl.PropagateNan.ALL)


@gluon.constexpr_function
def halve(layout):
    """A layout of 16-bit elements, as one of the 32-bit words that their pairs make."""

    def half(bases):
        return [[row, column // 2] for row, column in bases]

    registers = [basis for basis in layout.reg_bases if list(basis) != [0, 1]]
    shape = [layout.shape[0], layout.shape[1] // 2]
    return gl.DistributedLinearLayout(
        half(registers), half(layout.lane_bases), half(layout.warp_bases), [], shape
    )


@gluon.constexpr_function
def products(q, KC, C):
    """How many products, 16 deep, cover the q-th KC of C channels."""
    return (min(KC, C - q * KC) + 15) // 16


@gluon.jit
def unpack(words, layout: gl.constexpr):
    """int32 [M, N] -> float16 [M, 2 N]"""
    low, high = gl.inline_asm_elementwise(
        "mov.b32 {$0, $1}, $2;", "=h,=h,r", [words], dtype=(gl.float16, gl.float16), is_pure=True,
        pack=1,
    )  # fmt: skip
    pairs = gl.join(low, high).reshape([words.shape[0], 2 * words.shape[1]])
    return gl.convert_layout(pairs, layout, assert_trivial=True)


@gluon.jit
def pack(values, layout: gl.constexpr):
    """float16 [M, 2 N] -> int32 [M, N]"""
    low, high = values.reshape([values.shape[0], values.shape[1] // 2, 2]).split()
    words = gl.inline_asm_elementwise(
        "mov.b32 $0, {$1, $2};", "=r,h,h", [low, high], dtype=gl.int32, is_pure=True, pack=1
    )
    return gl.convert_layout(words, layout, assert_trivial=True)


@gluon.jit
def load_weights(
    w_ptr, ring, step, RING: gl.constexpr, STEPS: gl.constexpr, CHUNKS: gl.constexpr,
    C: gl.constexpr, KC: gl.constexpr, NP: gl.constexpr, LOAD: gl.constexpr,
):  # fmt: skip
    """KC input channels of one tap into their place in the ring, zeros beyond C."""
    k = gl.arange(0, KC, gl.SliceLayout(1, LOAD))
    c = gl.arange(0, NP, gl.SliceLayout(0, LOAD))
    tap, k = step // CHUNKS, k + step % CHUNKS * KC
    inside = (k < C)[:, None] & (c < C)[None, :] & (step < STEPS)
    w_ptrs = w_ptr + tap * (C * C) + k[:, None] * C + c[None, :]
    async_copy.async_load(ring.index(step % RING), w_ptrs, mask=inside)
    async_copy.commit_group()


@gluon.jit
def load_image(
    image_ptr, a, H: gl.constexpr, PITCH: gl.constexpr, C: gl.constexpr, M: gl.constexpr,
    NP: gl.constexpr, CHUNK: gl.constexpr, LOAD: gl.constexpr,
):  # fmt: skip
    """All rows, CHUNK at a time; those past the halo are zero."""
    ch = gl.arange(0, NP, gl.SliceLayout(0, LOAD))
    for j in gl.static_range(M // CHUNK):
        row = gl.arange(0, CHUNK, gl.SliceLayout(1, LOAD)) + j * CHUNK
        inside = (row < (H + 2) * PITCH + 1)[:, None] & (ch < C)[None, :]
        values = gl.load(image_ptr + row[:, None] * C + ch[None, :], mask=inside, other=0.0)
        a.slice(j * CHUNK, CHUNK, 0).store(values)


@gluon.jit
def put(
    acc, words, b_ptr, AT: gl.constexpr, N: gl.constexpr, M: gl.constexpr, PITCH: gl.constexpr,
    ACC: gl.constexpr,
):  # fmt: skip
    """relu(acc + b) into columns AT .. AT + N of A, each pixel's into its own row."""
    LAYOUT: gl.constexpr = halve(gl.to_linear_layout(ACC, [M, N]))
    bias = gl.load(b_ptr + AT + gl.arange(0, N, gl.SliceLayout(0, ACC)))
    out = gl.maximum(acc + bias[None, :], 0.0, propagate_nan=NAN).to(gl.float16)
    row = (gl.arange(0, M, gl.SliceLayout(1, LAYOUT)) + PITCH + 1) & (M - 1)
    column = gl.arange(0, N // 2, gl.SliceLayout(0, LAYOUT))
    words.slice(AT // 2, N // 2, 1).scatter(
        pack(out, LAYOUT), row[:, None] + (column * 0)[None, :], 0
    )


@gluon.jit
def hand_over(
    image_ptr, a, y_ptr, plane, n, g, H: gl.constexpr, W: gl.constexpr, C: gl.constexpr,
    SPLITS: gl.constexpr, Y_WIDTH: gl.constexpr, M: gl.constexpr, NP: gl.constexpr,
    CHUNK: gl.constexpr, LOAD: gl.constexpr,
):  # fmt: skip
    """y_g from A to memory; A becomes what the next split convolves, y_g + x_(g+1)."""
    PITCH: gl.constexpr = W + 1
    # 0, but the compiler must not know: it would compute all masks before the loop, and spill
    zero = gl.inline_asm_elementwise(
        "and.b32 $0, $1, 0;", "=r,r", [g], dtype=gl.int32, is_pure=False, pack=1
    )
    ch = gl.arange(0, NP, gl.SliceLayout(0, LOAD))
    for j in gl.static_range(M // CHUNK):
        row = gl.arange(0, CHUNK, gl.SliceLayout(1, LOAD)) + (j * CHUNK + zero)
        center = row - (PITCH + 1)  # the pixel whose value the row holds
        h, w = center // PITCH, center % PITCH
        inside = ((center >= 0) & (h < H) & (w < W))[:, None] & (ch < C)[None, :]
        pixel = n.to(gl.int64) * (H * W) + h * W + w
        part = a.slice(j * CHUNK, CHUNK, 0)
        y = part.load(LOAD)
        gl.store(y_ptr + pixel[:, None] * Y_WIDTH + (g * C + ch)[None, :], y, mask=inside)
        if g < SPLITS - 1:
            x_ptrs = image_ptr + (g + 1).to(gl.int64) * plane + row[:, None] * C + ch[None, :]
            x = gl.load(x_ptrs, mask=inside, other=0.0)
            z = (y.to(gl.float32) + x.to(gl.float32)).to(gl.float16)
            part.store(gl.where(inside, z, 0.0))
