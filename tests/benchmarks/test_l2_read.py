"""What the kernel sums, in the interpreter, and what it loads, compiled; the clock is made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.benchmarks import l2_read
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.measure.timing import Samples

DEVICE = torch.device("cpu" if interpreted() else "cuda")
# compiling needs Triton without its interpreter
COUNT = """
import json, torch
from r2n_kernels.benchmarks.l2_read import BLOCK, WARPS, l2_read_kernel
from r2n_kernels.emulator.triton import compile_kernel

signature = {"x_ptr": "*i32", "out_ptr": "*i32", "reads": "i32", "BLOCKS": "constexpr",
             "BLOCK": "constexpr"}
constants = {"BLOCKS": 4, "BLOCK": BLOCK}
kernel = compile_kernel(l2_read_kernel, signature, constants, arch=90, num_warps=WARPS)
x, out = torch.arange(4 * BLOCK, dtype=torch.int32), torch.zeros(3, dtype=torch.int32)
counters = kernel.run((3,), [x, out, 5])
loads = counters.global_["ld"]
print(json.dumps([loads.bytes, loads.requests, loads.sectors, out.tolist(), ".cg" in kernel.ptx]))
"""


def sums(x: torch.Tensor, reads: int, programs: int, block: int) -> list[int]:
    """In 32 bits."""
    blocks = x.view(-1, block)
    n = len(blocks)
    read = [[blocks[(p * n // programs + i) % n] for i in range(reads)] for p in range(programs)]
    return [torch.stack(of).sum().to(torch.int32).item() for of in read]


def test_every_program_sums_the_blocks_that_it_reads():
    x = torch.randint(-1000, 1000, (4 * 16,), dtype=torch.int32)
    out = torch.full((5,), -1, dtype=torch.int32, device=DEVICE)
    l2_read.l2_read_kernel[(5,)](x.to(DEVICE), out, 7, BLOCKS=4, BLOCK=16, num_warps=1)
    assert out.tolist() == sums(x, 7, 5, 16)


def test_the_compiled_kernel_loads_all_of_it_16_bytes_at_a_time():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    moved, requests, sectors, found, past_l1 = json.loads(done.stdout)
    assert moved == 3 * 5 * 4 * l2_read.BLOCK
    assert moved == 32 * 16 * requests == 32 * sectors
    assert past_l1
    x = torch.arange(4 * l2_read.BLOCK, dtype=torch.int32)
    assert found == sums(x, 5, 3, l2_read.BLOCK)


@pytest.mark.parametrize(
    ("l2_bytes", "blocks"),
    [(50 * 2**20, 1024), (40 * 2**20, 1024), (6 * 2**20, 128), (4 * 2**20, 128), (0, 1)],
)
def test_the_buffer_lies_in_l2(l2_bytes, blocks):
    assert l2_read.blocks_in(l2_bytes) == blocks


def test_the_best_of_all_rounds(monkeypatch):
    chip = SimpleNamespace(L2_cache_size=2**15, multi_processor_count=2)
    launches = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda x, out, reads, **options: launches.append((grid, len(x), reads, options))

    def interleave(subjects, rounds, *, device, seconds):
        subjects["read"]()
        return {"read": Samples("read", ((0.5, 0.25), (0.75,)))}

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: chip)
    monkeypatch.setattr(l2_read, "l2_read_kernel", Kernel())
    monkeypatch.setattr(l2_read, "interleave", interleave)
    bandwidth, size = l2_read.l2_bandwidth(torch.device("cpu"))
    assert size == 4 * l2_read.BLOCK == 2**14
    options = {"BLOCKS": 1, "BLOCK": l2_read.BLOCK, "num_warps": l2_read.WARPS}
    assert launches == [((8,), l2_read.BLOCK, l2_read.READS, options)]
    assert bandwidth == 8 * l2_read.READS * l2_read.BLOCK * 4 / 0.25


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu():
    bandwidth, size = l2_read.l2_bandwidth(torch.device("cuda"))
    assert size <= l2_read.MOST_BYTES
    assert 5e11 < bandwidth < 1e14
