"""This kernel keeps a window of an image in shared memory, and the weights of a whole split.

One CTA walks all splits of one image, whose maps are too large for `images`:

    for g in splits:
        W = w[g]                                # [9, BLOCK_K, BLOCK_N]
        for window in windows of the image:
            A = rows of planes[g] + y of the last split, with a halo     # [BUFFER, BLOCK_N]
            for tile in tiles of the window:    # of BLOCK_M rows
                y_g[tile] = relu(sum over taps of A[rows + shift(tap)] @ W[tap] + b[g])
        barrier                                 # the next split reads neighbours' rows of y

The planes are only read. What goes from split to split goes through y, which is read as often as
halos overlap, where a tile loads each of its nine taps.
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
def load_window(
    image_ptr, y_ptr, a, g, start, n, plane, H: gl.constexpr, W: gl.constexpr, C: gl.constexpr,
    Y_WIDTH: gl.constexpr, NEEDED: gl.constexpr, CHUNK: gl.constexpr, LOAD: gl.constexpr,
):  # fmt: skip
    """Fill A with rows from `start` on, CHUNK at a time: of split g, what it convolves."""
    PITCH: gl.constexpr = W + 1
    ch = gl.arange(0, a.shape[1], gl.SliceLayout(0, LOAD))
    for j in gl.static_range(a.shape[0] // CHUNK):
        row = gl.arange(0, CHUNK, gl.SliceLayout(1, LOAD)) + j * CHUNK
        center = row + (start - (PITCH + 1))  # the pixel whose value the row holds
        h, w = center // PITCH, center % PITCH
        needed = (row < NEEDED) & (center >= 0) & (h < H) & (w < W)
        mask = needed[:, None] & (ch < C)[None, :]
        x_ptrs = image_ptr + g.to(gl.int64) * plane + (row + start)[:, None] * C + ch[None, :]
        x = gl.load(x_ptrs, mask=mask, other=0.0)
        if g > 0:
            pixel = n.to(gl.int64) * (H * W) + h * W + w
            y_ptrs = y_ptr + pixel[:, None] * Y_WIDTH + ((g - 1) * C + ch)[None, :]
            y = gl.load(y_ptrs, mask=mask, other=0.0)
            x = (y.to(gl.float32) + x.to(gl.float32)).to(x.dtype)
        a.slice(j * CHUNK, CHUNK, 0).store(x)


@gluon.jit(do_not_specialize=["N"])
def stage_windows_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, N, plane: tl.int64,
    IMAGE_ROWS: gl.constexpr, H: gl.constexpr, W: gl.constexpr, C: gl.constexpr,
    SPLITS: gl.constexpr, Y_WIDTH: gl.constexpr, K_PAD: gl.constexpr, N_PAD: gl.constexpr,
    BLOCK_M: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_K: gl.constexpr,
    PARTS: gl.constexpr, WARPS: gl.constexpr, CHUNK: gl.constexpr, WGMMA: gl.constexpr,
    TILES: gl.constexpr, BUFFER: gl.constexpr,
):  # fmt: skip
    """Take planes [SPLITS, rows, C], w [SPLITS, 3, K_PAD, N_PAD], b [SPLITS, N_PAD].

    TILES: of BLOCK_M rows in a window, which with its halo fits BUFFER rows. PARTS: heights
    whose sum is BLOCK_M, with the widths that cover C columns in each. CHUNK: rows that are
    loaded at a time.
    """
    PITCH: gl.constexpr = W + 1
    WINDOW: gl.constexpr = TILES * BLOCK_M
    NEEDED: gl.constexpr = WINDOW + 2 * PITCH + 2
    LOAD: gl.constexpr = row_layout(CHUNK, BLOCK_N, WARPS)
    dtype: gl.constexpr = y_ptr.dtype.element_ty

    n = gl.program_id(0)
    a = gl.allocate_shared_memory(dtype, [BUFFER, BLOCK_N], padded(BUFFER, BLOCK_N))
    y = gl.allocate_shared_memory(dtype, [BLOCK_M, BLOCK_N], padded(BLOCK_M, BLOCK_N))
    a_words, y_words = words_of(a), words_of(y)
    weights = gl.allocate_shared_memory(dtype, [9, BLOCK_K, BLOCK_N], weight_layout(BLOCK_N, WGMMA))
    image_ptr = planes_ptr + n.to(gl.int64) * (IMAGE_ROWS * C)
    ch = gl.arange(0, BLOCK_N, gl.SliceLayout(0, LOAD))
    for j in gl.static_range(BLOCK_M // CHUNK):  # columns beyond C are read, and never written
        y.slice(j * CHUNK, CHUNK, 0).store(gl.zeros([CHUNK, BLOCK_N], dtype, LOAD))

    for g in range(SPLITS):
        gl.barrier()  # everyone is done with the weights, and has stored y
        for place in gl.static_range(9):
            load_weights(
                w_ptr, weights, place, g * 9 + place, SPLITS * 9, 1, C, K_PAD, N_PAD, BLOCK_K,
                BLOCK_N, WARPS,
            )  # fmt: skip
        for start in range(0, H * PITCH, WINDOW):
            gl.barrier()  # everyone is done with A
            load_window(
                image_ptr, y_ptr, a, g, start, n, plane, H, W, C, Y_WIDTH, NEEDED, CHUNK, LOAD
            )
            async_copy.wait_group(0)
            if WGMMA:
                fence_async_shared()
            gl.barrier()
            tiles = gl.minimum((H * PITCH - start + BLOCK_M - 1) // BLOCK_M, TILES)
            for m in range(tiles):
                sums = zeros(PARTS, WARPS, WGMMA)
                for t in range(9):
                    first = m * BLOCK_M + (t // 3) * PITCH + t % 3
                    sums = multiply(
                        a_words, first, weights.index(t), sums, 0, products(0, BLOCK_K, C), PARTS,
                        WARPS, WGMMA,
                    )  # fmt: skip
                gl.barrier()  # everyone has stored the last tile
                put_all(sums, b_ptr + g * N_PAD, y_ptr, y_words, 0, PARTS)
                gl.barrier()
                for j in gl.static_range(BLOCK_M // CHUNK):
                    row = gl.arange(0, CHUNK, gl.SliceLayout(1, LOAD)) + (
                        start + m * BLOCK_M + j * CHUNK
                    )
                    h, w = row // PITCH, row % PITCH
                    mask = ((h < H) & (w < W))[:, None] & (ch < C)[None, :]
                    pixel = n.to(gl.int64) * (H * W) + h * W + w
                    y_ptrs = y_ptr + pixel[:, None] * Y_WIDTH + (g * C + ch)[None, :]
                    gl.store(y_ptrs, y.slice(j * CHUNK, CHUNK, 0).load(LOAD), mask=mask)
