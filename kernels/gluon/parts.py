"""The Gluon kernels share these device functions: between registers, shared and global memory.

What moves between registers and shared memory moves as 32-bit words: of 16-bit elements the
compiler proves no alignment, and loads half of them one by one.
"""

import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy, mma_v2
from triton.experimental.gluon.language.nvidia.hopper import warpgroup_mma, warpgroup_mma_wait

NAN = gl.constexpr(tl.PropagateNan.ALL)
RENAMED = gl.constexpr(hasattr(gl.shared_memory_descriptor, "reinterpret"))  # in Triton 3.9


@gluon.constexpr_function
def halve(layout):
    """Turn a layout of 16-bit elements into that of the 32-bit words that their pairs make."""

    def half(bases):
        return [[row, column // 2] for row, column in bases]

    registers = [basis for basis in layout.reg_bases if list(basis) != [0, 1]]
    shape = [layout.shape[0], layout.shape[1] // 2]
    return gl.DistributedLinearLayout(
        half(registers), half(layout.lane_bases), half(layout.warp_bases), [], shape
    )


@gluon.constexpr_function
def product_layout(WARPS, M, N, WGMMA):
    """Return the layout of sums [M, N]: as many warps along M as it has rows for."""
    down = min(WARPS, M // 16)
    across = WARPS // down
    if WGMMA:
        return gl.NVMMADistributedLayout([3, 0], [down, across], [16, N // across, 16])
    return gl.NVMMADistributedLayout([2, 0], [down, across], [16, 8])


@gluon.constexpr_function
def left_layout(WARPS, M, N, WGMMA):
    """Return the layout of the left operand of sums [M, N]."""
    return gl.DotOperandLayout(0, product_layout(WARPS, M, N, WGMMA), 2)


@gluon.constexpr_function
def row_of(PARTS, i):
    """Return the first row of the i-th part of rows."""
    return sum(rows for rows, _ in PARTS[:i])


@gluon.constexpr_function
def column_of(PARTS, i, j):
    """Return the first column of the j-th part of its columns."""
    return sum(PARTS[i][1][:j])


@gluon.constexpr_function
def place_of(PARTS, i, j):
    """Return the place of its sums in a tuple of all."""
    return sum(len(columns) for _, columns in PARTS[:i]) + j


@gluon.jit
def unpack(words, layout: gl.constexpr, dtype: gl.constexpr):
    """Take int32 words [M, N] apart into 16-bit [M, 2 N]."""
    low, high = gl.inline_asm_elementwise(
        "mov.b32 {$0, $1}, $2;", "=h,=h,r", [words], dtype=(gl.int16, gl.int16), is_pure=True,
        pack=1,
    )  # fmt: skip
    pairs = gl.join(low, high).reshape([words.shape[0], 2 * words.shape[1]])
    pairs = pairs.to(dtype, bitcast=True)
    return gl.convert_layout(pairs, layout, assert_trivial=True)


@gluon.jit
def pack(values, layout: gl.constexpr):
    """Put 16-bit values [M, 2 N] together into int32 words [M, N]."""
    values = values.to(gl.int16, bitcast=True)
    low, high = values.reshape([values.shape[0], values.shape[1] // 2, 2]).split()
    words = gl.inline_asm_elementwise(
        "mov.b32 $0, {$1, $2};", "=r,h,h", [low, high], dtype=gl.int32, is_pure=True, pack=1
    )
    return gl.convert_layout(words, layout, assert_trivial=True)


@gluon.jit
def blank(M: gl.constexpr, N: gl.constexpr, WARPS: gl.constexpr, WGMMA: gl.constexpr):
    return gl.zeros([M, N], gl.float32, product_layout(WARPS, M, N, WGMMA))


@gluon.jit
def zeros(PARTS: gl.constexpr, WARPS: gl.constexpr, WGMMA: gl.constexpr):
    """Return float32 zeros for each product of PARTS, row by row."""
    sums = ()
    for i in gl.static_range(len(PARTS)):
        for j in gl.static_range(len(PARTS[i][1])):
            part = blank(PARTS[i][0], PARTS[i][1][j], WARPS, WGMMA)
            sums = sums + (part,)  # noqa: RUF005  Triton has no `*sums`
    return sums


@gluon.constexpr_function
def weight_layout(N, WGMMA):
    """Return the layout of weights [K, N] in shared memory, as matrix instructions read them."""
    if WGMMA:
        return gl.NVMMASharedLayout(min(128, 2 * N), 16, rank=2)
    rows = max(1, 64 // N)  # in 128 bytes, over which the banks go once
    return gl.SwizzledSharedLayout(8, rows, 8 // rows, [1, 0])


@gluon.jit
def product(a, right, acc, WARPS: gl.constexpr, WGMMA: gl.constexpr):
    """Start acc + a [M, 16] @ right [16, N]."""
    M: gl.constexpr = a.shape[0]
    N: gl.constexpr = right.shape[1]
    left = gl.convert_layout(a, left_layout(WARPS, M, N, WGMMA), assert_trivial=True)
    if WGMMA:
        acc = warpgroup_mma(left, right, acc, is_async=True)
    else:
        RIGHT: gl.constexpr = gl.DotOperandLayout(1, product_layout(WARPS, M, N, WGMMA), 2)
        acc = mma_v2(left, right.load(RIGHT), acc)
    return acc


@gluon.jit
def gather(
    words, first, FROM: gl.constexpr, i: gl.constexpr, dtype: gl.constexpr, PARTS: gl.constexpr,
    WARPS: gl.constexpr, WGMMA: gl.constexpr,
):  # fmt: skip
    """Return [M, 16] of the i-th part of rows from `first` on, around, columns from FROM on."""
    M: gl.constexpr = PARTS[i][0]
    N: gl.constexpr = PARTS[i][1][0]
    START: gl.constexpr = row_of(PARTS, i)
    LEFT: gl.constexpr = left_layout(WARPS, M, N, WGMMA)
    INDEX: gl.constexpr = halve(gl.to_linear_layout(LEFT, [M, 16]))
    rows = (gl.arange(0, M, gl.SliceLayout(1, INDEX)) + (first + START)) & (words.shape[0] - 1)
    flat = gl.arange(0, 8, gl.SliceLayout(0, INDEX)) * 0
    found = words.slice(FROM // 2, 8, 1).gather(rows[:, None] + flat[None, :], 0)
    return unpack(found, LEFT, dtype)


@gluon.jit
def issue(
    a, right, sums, i: gl.constexpr, PARTS: gl.constexpr, WARPS: gl.constexpr, WGMMA: gl.constexpr
):
    """Start sums + a @ right [16, BLOCK_N] for the i-th part of rows."""
    found = sums[: place_of(PARTS, i, 0)]
    for j in gl.static_range(len(PARTS[i][1])):
        columns = right.slice(column_of(PARTS, i, j), PARTS[i][1][j], 1)
        part = product(a, columns, sums[place_of(PARTS, i, j)], WARPS, WGMMA)
        found = found + (part,)  # noqa: RUF005
    return found + sums[place_of(PARTS, i + 1, 0) :]


@gluon.jit
def wait(COUNT: gl.constexpr, sums, a):
    """Wait until at most COUNT products are under way; the registers of a are free again."""
    every = warpgroup_mma_wait(COUNT, deps=sums + (a,))  # noqa: RUF005
    return every[:-1]


@gluon.jit
def multiply(
    words, first, right, sums, FROM: gl.constexpr, COUNT: gl.constexpr, PARTS: gl.constexpr,
    WARPS: gl.constexpr, WGMMA: gl.constexpr,
):  # fmt: skip
    """Add words[first ..., FROM ...] @ right to the sums of PARTS, in COUNT products 16 deep."""
    before = ()  # the last operand, while its products are under way
    for k in gl.static_range(COUNT):
        for i in gl.static_range(len(PARTS)):
            a = gather(words, first, FROM + 16 * k, i, right.dtype, PARTS, WARPS, WGMMA)
            sums = issue(a, right.slice(16 * k, 16, 0), sums, i, PARTS, WARPS, WGMMA)
            if WGMMA and k + i > 0:  # products under way, while the next operand is gathered
                sums = wait(len(PARTS[i][1]), sums, before)
            before = a
    if WGMMA:
        sums = wait(0, sums, before)
    return sums


@gluon.jit
def load_weights(
    w_ptr, ring, place, step, STEPS: gl.constexpr, CHUNKS: gl.constexpr, C: gl.constexpr,
    K_PAD: gl.constexpr, N_PAD: gl.constexpr, BLOCK_K: gl.constexpr, BLOCK_N: gl.constexpr,
    WARPS: gl.constexpr,
):  # fmt: skip
    """Copy BLOCK_K input channels of one tap to their place in the ring, zeros beyond C.

    w [splits, 3, K_PAD, N_PAD]: a line's row `tap * C + channel`. CHUNKS: of a tap.
    """
    LOAD: gl.constexpr = gl.BlockedLayout(
        [1, 8], [32 * 8 // BLOCK_N, BLOCK_N // 8], [WARPS, 1], [1, 0]
    )
    k = gl.arange(0, BLOCK_K, gl.SliceLayout(1, LOAD))
    c = gl.arange(0, BLOCK_N, gl.SliceLayout(0, LOAD))
    tap, start = step // CHUNKS, step % CHUNKS * BLOCK_K
    inside = (k < C - start)[:, None] & (c < C)[None, :] & (step < STEPS)
    first_ptr = w_ptr + (tap // 3 * K_PAD + tap % 3 * C + start) * N_PAD
    w_ptrs = first_ptr + (k * N_PAD)[:, None] + c[None, :]
    async_copy.async_load(ring.index(place), w_ptrs, mask=inside)
    async_copy.commit_group()


@gluon.constexpr_function
def products(chunk, BLOCK_K, C):
    """Return how many products, 16 deep, cover the chunk-th BLOCK_K of C channels."""
    return (min(BLOCK_K, C - chunk * BLOCK_K) + 15) // 16


@gluon.constexpr_function
def row_layout(M, N, WARPS):
    """Return the layout in which [M, N] goes between memories: 16 bytes a thread, whole rows."""

    def bits(size):
        return [1 << i for i in range(size.bit_length() - 1)]

    columns = [[0, 8 * bit] for bit in bits(N // 8)]
    # of `padded` rows of 64 bytes, it is the first and the fifth that share no bank
    order = (4, 1, 2, *bits(M)[3:]) if N == 32 else bits(M)
    rows, lanes, warps = [[row, 0] for row in order], 5 - len(columns), len(bits(WARPS))
    registers = [[0, 1], [0, 2], [0, 4], *rows[lanes + warps :]]
    return gl.DistributedLinearLayout(
        registers, columns + rows[:lanes], rows[lanes : lanes + warps], [], [M, N]
    )


@gluon.constexpr_function
def padded(M, N):
    """Return a layout whose rows are 16 bytes apart in their banks: no shift makes conflicts."""
    return gl.PaddedSharedLayout.with_identity_for([[N, 8]], [M, N], [1, 0])


@gluon.jit
def words_of(a):
    """Look at 16-bit a [M, N], in `padded`, as int32 [M, N / 2]."""
    M: gl.constexpr = a.shape[0]
    N: gl.constexpr = a.shape[1] // 2
    LAYOUT: gl.constexpr = gl.PaddedSharedLayout.with_identity_for([[N, 4]], [M, N], [1, 0])
    if RENAMED:
        words = a.reinterpret(gl.int32, [M, N], LAYOUT)
    else:
        words = a._reinterpret(gl.int32, [M, N], LAYOUT)
    return words


@gluon.jit
def activate(sums, b_ptr, like_ptr):
    """Return relu(sums + b) rounded to the element type of like_ptr."""
    LAYOUT: gl.constexpr = sums.type.layout
    bias = gl.load(b_ptr + gl.arange(0, sums.shape[1], gl.SliceLayout(0, LAYOUT)))
    out = gl.maximum(sums + bias[None, :], 0.0, propagate_nan=NAN)
    return out.to(like_ptr.dtype.element_ty)


@gluon.jit
def put(out, words, AT: gl.constexpr, shift):
    """Write [M, N] into columns AT .. AT + N of words, shift rows further, around."""
    M: gl.constexpr = out.shape[0]
    N: gl.constexpr = out.shape[1]
    LAYOUT: gl.constexpr = halve(gl.to_linear_layout(out.type.layout, [M, N]))
    row = (gl.arange(0, M, gl.SliceLayout(1, LAYOUT)) + shift) & (words.shape[0] - 1)
    column = gl.arange(0, N // 2, gl.SliceLayout(0, LAYOUT))
    words.slice(AT // 2, N // 2, 1).scatter(
        pack(out, LAYOUT), row[:, None] + (column * 0)[None, :], 0
    )


@gluon.jit
def put_all(
    sums, b_ptr, like_ptr, words, shift, PARTS: gl.constexpr,
):  # fmt: skip
    """Write what `activate` makes of all sums into rows of words, shift further, around."""
    for i in gl.static_range(len(PARTS)):
        for j in gl.static_range(len(PARTS[i][1])):
            out = activate(
                sums[place_of(PARTS, i, j)], b_ptr + column_of(PARTS, i, j), like_ptr
            )  # fmt: skip
            put(out, words, column_of(PARTS, i, j), row_of(PARTS, i) + shift)
