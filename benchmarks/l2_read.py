"""Bandwidth from L2 to SMs is measured: all SMs read a buffer that L2 holds, over and over."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..measure.timing import interleave

BLOCK = 4096  # elements of 4 bytes that a program reads at a time, 16 bytes a load
WARPS, CTAS = 8, 4  # of a CTA; of an SM: 64 KiB under way, where 20 hide L2's latency
MOST_BYTES = 2**24  # of the buffer: it fits with room to spare in the L2 of server GPUs
READS = 4096  # blocks that a program reads: milliseconds, beside which a launch is nothing
TRIES, SECONDS = 5, 0.1


@triton.jit
def l2_read_kernel(x_ptr, out_ptr, reads, BLOCKS: tl.constexpr, BLOCK: tl.constexpr):
    """out[program] = the sum of `reads` of x's BLOCKS blocks, in turn, from a place of its own."""
    pid = tl.program_id(0)
    first = pid * BLOCKS // tl.num_programs(0)
    offs = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.int32)
    for i in tl.range(0, reads):
        block = (first + i) % BLOCKS
        total += tl.load(x_ptr + block * BLOCK + offs, cache_modifier=".cg")  # not from L1
    tl.store(out_ptr + pid, tl.sum(total))


def l2_bandwidth(device: torch.device) -> tuple[float, int]:
    """Measure an NVIDIA GPU: (bytes per second at its best, bytes of the buffer)."""
    chip = torch.cuda.get_device_properties(device)
    blocks = blocks_in(chip.L2_cache_size)
    programs = CTAS * chip.multi_processor_count
    x = torch.arange(blocks * BLOCK, dtype=torch.int32, device=device)
    out = torch.empty(programs, dtype=torch.int32, device=device)

    def read() -> None:
        l2_read_kernel[(programs,)](x, out, READS, BLOCKS=blocks, BLOCK=BLOCK, num_warps=WARPS)

    timed = interleave({"read": read}, TRIES, device=device, seconds=SECONDS)["read"]
    moved = programs * READS * BLOCK * x.itemsize
    return moved / min(map(min, timed.rounds)), x.nbytes


def blocks_in(l2_bytes: int) -> int:
    """Return a power of two of blocks that fill at most half of L2, or MOST_BYTES."""
    fitting = min(l2_bytes // 2, MOST_BYTES) // (4 * BLOCK)
    return 1 << max(fitting.bit_length() - 1, 0)
