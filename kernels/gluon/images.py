"""This kernel keeps whole images in shared memory for a block's split chain.

One CTA walks all splits of IMAGES images. Their rows, of the planes layout with its halo, stay in
shared memory, and weights stream through a ring:

    A = rows of planes[0]                       # [BUFFER, BLOCK_N], around which rows wrap
    for g in splits:
        sums = 0
        for tap in 9:                           # a tap is a row shift of A
            sums += A[rows + shift(tap)] @ w[g][tap]
        A = y = relu(sums + b[g]), a pixel in its own row;  y -> y_ptr
        A = y + rows of planes[g + 1]           # nothing goes through L2 between splits

A is gathered from shared memory into the registers of the product.
"""

import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared

from .parts import (
    load_weights,
    multiply,
    padded,
    products,
    put_all,
    row_layout,
    weight_layout,
    words_of,
    zeros,
)


@gluon.jit
def pixels_of(
    start, first, N, H: gl.constexpr, W: gl.constexpr, IMAGES: gl.constexpr, ROWS: gl.constexpr,
    CHUNK: gl.constexpr, LOAD: gl.constexpr,
):  # fmt: skip
    """Say of CHUNK rows of A from `start`: whether a row holds a pixel; its image, h and w."""
    # the row of the first pixel is W + 2: a line of zeros and one zero more lie before it
    center = gl.arange(0, CHUNK, gl.SliceLayout(1, LOAD)) + (start - (W + 2))
    image, inner = center // ROWS, center % ROWS
    h, w = inner // (W + 1), inner % (W + 1)
    inside = (center >= 0) & (image < IMAGES) & (first + image < N) & (h < H) & (w < W)
    return inside, image, h, w


@gluon.jit(do_not_specialize=["N"])
def stage_images_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, N, plane: tl.int64,
    IMAGE_ROWS: gl.constexpr, H: gl.constexpr, W: gl.constexpr, C: gl.constexpr,
    SPLITS: gl.constexpr, Y_WIDTH: gl.constexpr, K_PAD: gl.constexpr, N_PAD: gl.constexpr,
    BLOCK_M: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_K: gl.constexpr,
    PARTS: gl.constexpr, WARPS: gl.constexpr, CHUNK: gl.constexpr, WGMMA: gl.constexpr,
    BUFFER: gl.constexpr, IMAGES: gl.constexpr, ROWS: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """Take planes [SPLITS, rows, C], w [SPLITS, 3, K_PAD, N_PAD], b [SPLITS, N_PAD].

    ROWS: of A from one image to the next. PARTS: heights whose sum is BLOCK_M, with the widths that
    cover C columns in each. CHUNK: rows that go between memories at a time.
    """
    PITCH: gl.constexpr = W + 1
    CHUNKS: gl.constexpr = (C + BLOCK_K - 1) // BLOCK_K
    STEPS: gl.constexpr = 9 * CHUNKS  # of a split
    # rows that products write: behind them there are zeros, once and for all
    FILLED: gl.constexpr = (min(BUFFER, BLOCK_M + W + 2) + CHUNK - 1) // CHUNK
    LOAD: gl.constexpr = row_layout(CHUNK, BLOCK_N, WARPS)
    dtype: gl.constexpr = y_ptr.dtype.element_ty

    first = gl.program_id(0) * IMAGES
    a = gl.allocate_shared_memory(dtype, [BUFFER, BLOCK_N], padded(BUFFER, BLOCK_N))
    words = words_of(a)
    ring = gl.allocate_shared_memory(
        dtype, [STAGES, BLOCK_K, BLOCK_N], weight_layout(BLOCK_N, WGMMA)
    )
    for s in gl.static_range(STAGES - 1):
        load_weights(
            w_ptr, ring, s, s, SPLITS * STEPS, CHUNKS, C, K_PAD, N_PAD, BLOCK_K, BLOCK_N, WARPS
        )
    images_ptr = planes_ptr + first.to(gl.int64) * (IMAGE_ROWS * C)
    ch = gl.arange(0, BLOCK_N, gl.SliceLayout(0, LOAD))
    for j in gl.static_range(BUFFER // CHUNK):
        inside, image, h, w = pixels_of(j * CHUNK, first, N, H, W, IMAGES, ROWS, CHUNK, LOAD)
        mask = inside[:, None] & (ch < C)[None, :]
        row = image * IMAGE_ROWS + (h + 1) * PITCH + (w + 1)
        x = gl.load(images_ptr + row[:, None] * C + ch[None, :], mask=mask, other=0.0)
        a.slice(j * CHUNK, CHUNK, 0).store(x)

    for g in range(SPLITS):
        sums = zeros(PARTS, WARPS, WGMMA)
        for t in range(9):
            shift = (t // 3) * PITCH + t % 3
            for q in gl.static_range(CHUNKS):
                step = (g * 9 + t) * CHUNKS + q
                async_copy.wait_group(STAGES - 2)
                if WGMMA:
                    fence_async_shared()
                gl.barrier()  # this chunk is there, and everyone is done with the last one
                ahead = step + STAGES - 1
                load_weights(
                    w_ptr, ring, ahead % STAGES, ahead, SPLITS * STEPS, CHUNKS, C, K_PAD, N_PAD,
                    BLOCK_K, BLOCK_N, WARPS,
                )  # fmt: skip
                sums = multiply(
                    words, shift, ring.index(step % STAGES), sums, q * BLOCK_K,
                    products(q, BLOCK_K, C), PARTS, WARPS, WGMMA,
                )  # fmt: skip
        gl.barrier()  # everyone has read A
        # 0, but the compiler must not know: it would compute all addresses and masks before the
        # loop, and spill
        zero = gl.inline_asm_elementwise(
            "and.b32 $0, $1, 0;", "=r,r", [g], dtype=gl.int32, is_pure=False, pack=1
        )
        put_all(sums, b_ptr + g * N_PAD, y_ptr, words, W + 2 + zero, PARTS)
        gl.barrier()
        for j in gl.static_range(FILLED):
            inside, image, h, w = pixels_of(
                j * CHUNK + zero, first, N, H, W, IMAGES, ROWS, CHUNK, LOAD
            )
            mask = inside[:, None] & (ch < C)[None, :]
            pixel = (first + image).to(gl.int64) * (H * W) + h * W + w
            part = a.slice(j * CHUNK, CHUNK, 0)
            y = part.load(LOAD)
            gl.store(y_ptr + pixel[:, None] * Y_WIDTH + (g * C + ch)[None, :], y, mask=mask)
            if g < SPLITS - 1:
                row = image * IMAGE_ROWS + (h + 1) * PITCH + (w + 1)
                x_ptrs = images_ptr + (g + 1).to(gl.int64) * plane + row[:, None] * C + ch[None, :]
                x = gl.load(x_ptrs, mask=mask, other=0.0)
                z = (y.to(gl.float32) + x.to(gl.float32)).to(dtype)
                part.store(gl.where(mask, z, 0.0))
