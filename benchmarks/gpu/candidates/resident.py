"""This Gluon kernel (Triton >= 3.8) keeps an image in shared memory for a block's split chain.

One CTA per image walks all splits. The image's rows, of the planes layout with its halo, stay in
shared memory, and weights stream through a ring, a tap at a time:

    A = rows of planes[0]                       # [M, NP], M >= rows of the image
    for g in splits:
        acc = 0
        for tap in 9:                           # a tap is a row shift of A
            acc += A[rows + shift(tap)] @ w[g][tap]
        A = y = relu(acc + b[g]), a pixel in its own row;  y -> y_ptr
        A = y + rows of planes[g + 1]           # nothing goes through L2 between splits

A is gathered from shared memory into the registers of the product.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy, mma_v2
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from .resident_parts import halve, hand_over, load_image, load_weights, products, put, unpack


@gluon.jit
def columns_128(
    words, b, acc, index, FROM: gl.constexpr, COUNT: gl.constexpr, ACC: gl.constexpr,
    WGMMA: gl.constexpr,
):  # fmt: skip
    """acc [M, NP] += A[index, FROM ...] @ b, in COUNT products 16 deep."""
    A: gl.constexpr = gl.DotOperandLayout(0, ACC, 2)
    if WGMMA:
        a = unpack(words.slice(FROM // 2, 8, 1).gather(index, 0), A)
        before = a
        for i in gl.static_range(COUNT):
            acc = warpgroup_mma(a, b.slice(16 * i, 16, 0), acc, is_async=True)
            if i > 0:  # one in flight; the registers of the one before are free again
                acc, before = warpgroup_mma_wait(1, deps=[acc, before])
            before = a
            if i + 1 < COUNT:
                a = unpack(words.slice((FROM + 16 * (i + 1)) // 2, 8, 1).gather(index, 0), A)
        acc, before = warpgroup_mma_wait(0, deps=[acc, before])
    else:
        for i in gl.static_range(COUNT):
            a = unpack(words.slice((FROM + 16 * i) // 2, 8, 1).gather(index, 0), A)
            right = b.slice(16 * i, 16, 0).load(gl.DotOperandLayout(1, ACC, 2))
            acc = mma_v2(a, right, acc)
    return acc


@gluon.jit
def columns_112(
    words, b, acc, acc1, acc2, index, FROM: gl.constexpr, COUNT: gl.constexpr,
    ACC: gl.constexpr, ACC1: gl.constexpr, ACC2: gl.constexpr,
):  # fmt: skip
    """The same into 64 + 32 + 16 columns: what C = 104 needs, and no more."""
    A: gl.constexpr = gl.DotOperandLayout(0, ACC, 2)
    A1: gl.constexpr = gl.DotOperandLayout(0, ACC1, 2)
    A2: gl.constexpr = gl.DotOperandLayout(0, ACC2, 2)
    for i in gl.static_range(COUNT):
        a = unpack(words.slice((FROM + 16 * i) // 2, 8, 1).gather(index, 0), A)
        a1 = gl.convert_layout(a, A1, assert_trivial=True)
        a2 = gl.convert_layout(a, A2, assert_trivial=True)
        right = b.slice(16 * i, 16, 0)
        acc = warpgroup_mma(a, right.slice(0, 64, 1), acc, is_async=True)
        acc1 = warpgroup_mma(a1, right.slice(64, 32, 1), acc1, is_async=True)
        acc2 = warpgroup_mma(a2, right.slice(96, 16, 1), acc2, is_async=True)
        acc, acc1, acc2 = warpgroup_mma_wait(0, deps=[acc, acc1, acc2])
    return acc, acc1, acc2


@gluon.jit
def stage_resident_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane,
    IMAGE_ROWS: gl.constexpr, H: gl.constexpr, W: gl.constexpr, C: gl.constexpr,
    SPLITS: gl.constexpr, Y_WIDTH: gl.constexpr, NP: gl.constexpr, M: gl.constexpr,
    KC: gl.constexpr, RING: gl.constexpr, CHUNK: gl.constexpr,
    WM: gl.constexpr, WN: gl.constexpr, WGMMA: gl.constexpr, NARROW: gl.constexpr,
):  # fmt: skip
    """planes [SPLITS, rows, C], w [SPLITS, 9, C, C] (tap, in, out), b [SPLITS, NP].

    KC: channels of a place in the ring of RING places; WM x WN warps; NARROW: 64 + 32 + 16 columns.
    """
    PITCH: gl.constexpr = W + 1
    CHUNKS: gl.constexpr = (C + KC - 1) // KC
    STEPS: gl.constexpr = SPLITS * 9 * CHUNKS
    LOAD: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [WM * WN, 1], [1, 0])
    if WGMMA:
        RIGHT: gl.constexpr = gl.NVMMASharedLayout(128, 16, rank=2)
        WIDE: gl.constexpr = 64 if NARROW else NP // WN
        ACC: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WM, WN], [16, WIDE, 16])
    else:
        RIGHT: gl.constexpr = gl.SwizzledSharedLayout(8, 1, 8, [1, 0])  # type: ignore[no-redef]
        ACC: gl.constexpr = gl.NVMMADistributedLayout([2, 0], [WM, WN], [16, 8])  # type: ignore[no-redef]
    if NARROW:
        ACC1: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WM, WN], [16, 32, 16])
        ACC2: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WM, WN], [16, 16, 16])
    # rows are 16 bytes apart in their banks: no conflicts, whatever a tap's shift
    ROWS: gl.constexpr = gl.PaddedSharedLayout.with_identity_for([[NP, 8]], [M, NP], [1, 0])
    WORDS: gl.constexpr = gl.PaddedSharedLayout.with_identity_for(
        [[NP // 2, 4]], [M, NP // 2], [1, 0]
    )
    INDEX: gl.constexpr = halve(gl.to_linear_layout(gl.DotOperandLayout(0, ACC, 2), [M, 16]))

    n = gl.program_id(0)
    a = gl.allocate_shared_memory(gl.float16, [M, NP], ROWS)
    words = a._reinterpret(gl.int32, [M, NP // 2], WORDS)
    ring = gl.allocate_shared_memory(gl.float16, [RING, KC, NP], RIGHT)
    image_ptr = planes_ptr + n.to(gl.int64) * (IMAGE_ROWS * C)
    for s in gl.static_range(RING - 1):
        load_weights(w_ptr, ring, s, RING, STEPS, CHUNKS, C, KC, NP, LOAD)
    load_image(image_ptr, a, H, PITCH, C, M, NP, CHUNK, LOAD)

    row = gl.arange(0, M, gl.SliceLayout(1, INDEX))
    flat = gl.arange(0, 8, gl.SliceLayout(0, INDEX)) * 0
    for g in range(SPLITS):
        acc = gl.zeros([M, 64 if NARROW else NP], gl.float32, ACC)
        if NARROW:
            acc1 = gl.zeros([M, 32], gl.float32, ACC1)
            acc2 = gl.zeros([M, 16], gl.float32, ACC2)
        for t in range(9):
            index = ((row + (t // 3) * PITCH + t % 3) & (M - 1))[:, None] + flat[None, :]
            for q in gl.static_range(CHUNKS):
                step = (g * 9 + t) * CHUNKS + q
                async_copy.wait_group(RING - 2)
                if WGMMA:
                    fence_async_shared()
                gl.barrier()  # this chunk is there, and everyone is done with the last one
                load_weights(w_ptr, ring, step + RING - 1, RING, STEPS, CHUNKS, C, KC, NP, LOAD)
                b = ring.index(step % RING)
                if NARROW:
                    acc, acc1, acc2 = columns_112(
                        words, b, acc, acc1, acc2, index, q * KC, products(q, KC, C), ACC, ACC1,
                        ACC2,
                    )  # fmt: skip
                else:
                    acc = columns_128(words, b, acc, index, q * KC, products(q, KC, C), ACC, WGMMA)
        gl.barrier()  # everyone has read A
        put(acc, words, b_ptr + g * NP, 0, 64 if NARROW else NP, M, PITCH, ACC)
        if NARROW:
            put(acc1, words, b_ptr + g * NP, 64, 32, M, PITCH, ACC1)
            put(acc2, words, b_ptr + g * NP, 96, 16, M, PITCH, ACC2)
        gl.barrier()
        hand_over(image_ptr, a, y_ptr, plane, n, g, H, W, C, SPLITS, Y_WIDTH, M, NP, CHUNK, LOAD)


# by compute capability: what its shared memory and its tensor cores are for
FORMS = {
    80: {"KC": 128, "RING": 2, "WM": 4, "WN": 2, "WGMMA": False},
    86: {"KC": 32, "RING": 3, "WM": 4, "WN": 2, "WGMMA": False},
    89: {"KC": 32, "RING": 3, "WM": 4, "WN": 2, "WGMMA": False},
    90: {"KC": 128, "RING": 3, "WM": 8, "WN": 1, "WGMMA": True},
    120: {"KC": 32, "RING": 3, "WM": 4, "WN": 2, "WGMMA": False},
}


def constants(arch: int, narrow: bool, image_rows: int) -> dict[str, int | bool]:
    """Return those of the 14 px block of 104 channels per split. narrow: on sm_90 alone."""
    shape = {"IMAGE_ROWS": image_rows, "H": 14, "W": 14, "C": 104, "SPLITS": 3, "Y_WIDTH": 416}
    return {**shape, "NP": 128, "M": 256, "CHUNK": 64, **FORMS[arch], "NARROW": narrow}
