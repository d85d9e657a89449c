"""Kernels compiled by Triton, and short ones in PTX."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from r2n_kernels.emulator import Kernel
from r2n_kernels.kernels.layout import PlanesLayout
from r2n_kernels.reference import twins

WORKER = Path(__file__).with_name("worker.py")
POINTERS = {
    torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int8: "*i8",
    torch.int32: "*i32", torch.int16: "*i16", torch.int64: "*i64",
}  # fmt: skip


def compiling() -> dict[str, str]:
    """The environment of a process that compiles kernels; this one may interpret them."""
    return {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> Iterator[Callable[..., tuple]]:
    """compiled(function of worker.py, **its arguments): its answer, worked out once."""
    environment = compiling() | {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    process = subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    made: dict[bytes, tuple] = {}

    def ask(function: str, /, **arguments) -> tuple:
        question = pickle.dumps((function, arguments))
        if question not in made:
            process.stdin.write(question)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
            if isinstance(answer, RuntimeError):
                raise answer
            made[question] = answer
        return made[question]

    yield ask
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="session")
def ask(compiled) -> Callable[..., Kernel]:
    """ask(function of worker.py, **its arguments): the kernel that it compiles."""
    return lambda function, /, **arguments: Kernel(*compiled(function, **arguments))


@pytest.fixture(scope="session")
def tma_kernel(compiled) -> Callable[..., tuple[Kernel, list]]:
    """tma_kernel(function of tma_kernels.py, ...): (kernel, what its descriptors are)."""

    def make(function: str, /, **arguments) -> tuple[Kernel, list]:
        ptx, shared, warps, scratch, metas = compiled("tma", function=function, **arguments)
        return Kernel(ptx, shared, warps, scratch_bytes=scratch), metas

    return make


@pytest.fixture(scope="session")
def triton_kernel(ask) -> Callable[..., Kernel]:
    """triton_kernel(name, tensors and numbers by parameter, constants, arch, ...)."""

    def make(function: str, args: dict, constants: dict, arch: int, **options) -> Kernel:
        signature = {
            k: POINTERS[v.dtype] if hasattr(v, "dtype") else "i32" for k, v in args.items()
        }
        return ask("kernel", function=function, signature=signature, constants=constants, arch=arch,
                   **options)  # fmt: skip

    return make


def hand_written(
    body: str, params: str = "", *, shared: int = 0, warps: int = 1, header: str = ""
) -> Kernel:
    """A kernel of PTX statements with registers %p, %rs, %r and %rd.

    params: types of p0, p1, ..., as in "u64 u32"; a tensor map's is "map". shared: bytes of dynamic
    memory, named `buf`.
    """
    declared = ", ".join(
        f".param .align 64 .b8 p{i}[128]" if t == "map" else f".param .{t} p{i}"
        for i, t in enumerate(params.split())
    )
    return Kernel(
        f"{header}\n.extern .shared .align 16 .b8 buf[];\n.visible .entry t({declared})\n{{\n"
        ".reg .pred %p<20>; .reg .b16 %rs<20>; .reg .b32 %r<40>; .reg .b64 %rd<20>;\n"
        f"{body}\nret;\n}}\n",
        shared, warps,
    )  # fmt: skip


class Stage:
    """The stage kernel's arguments, what it should make of them, and how far off a run was."""

    def __init__(self, ask, *, size: int, channels: int, splits: int, images: int, tile, dtype):
        self.options = {
            "size": size, "channels": channels, "splits": splits, "images": images,
            "tile": tile, "dtype": dtype,
        }  # fmt: skip
        self.ask, self.images = ask, images
        layout = PlanesLayout(images, size, size, channels, tile[2])
        columns = -(-channels // tile[1]) * tile[1]
        g = torch.Generator().manual_seed(0)
        self.planes = torch.zeros(splits, layout.rows, channels, dtype=dtype)
        for plane in self.planes:
            pixels = twins.images_of(plane, layout)
            pixels.copy_(torch.randn(pixels.shape, generator=g))
        self.w = torch.zeros(splits, 3, layout.k, columns, dtype=dtype)
        taps = self.w[:, :, : 3 * channels, :channels]
        taps.copy_(torch.randn(taps.shape, generator=g) / (9 * channels) ** 0.5)
        self.b = torch.zeros(splits, columns)
        self.b[:, :channels] = torch.randn(splits, channels, generator=g) / 10
        self.wanted = torch.empty(images * size * size, splits * channels, dtype=torch.double)
        planes, w, b = (t.double() for t in (self.planes, self.w, self.b))
        twins.stage(planes, w, b, self.wanted, layout=layout)

    def kernel(self, arch: int, **options) -> Kernel:
        return self.ask("stage", arch=arch, **self.options, **options)

    def run(self, kernel: Kernel, **options):
        """(relative error of y, counters)."""
        y = torch.full_like(self.wanted, float("nan"), dtype=self.planes.dtype)
        planes = self.planes.clone()
        args = [planes, self.w, self.b, y, planes.stride(0)]
        counters = kernel.run((self.images,), args, **options)
        error = ((y.double() - self.wanted).norm() / self.wanted.norm()).item()
        return error, counters


@pytest.fixture(scope="session")
def stage(ask) -> Callable[..., Stage]:
    """stage(size, channels, splits, images, (block_m, block_n, block_k, warps, stages))."""

    def make(size, channels, splits, images, tile, dtype=torch.float16) -> Stage:
        return Stage(
            ask, size=size, channels=channels, splits=splits, images=images, tile=tile, dtype=dtype
        )

    return make


@pytest.fixture(scope="session")
def gemm(ask) -> Callable[..., Gemm]:
    """gemm(dtype, out, m=, n=, k=, tile=, ...): see Gemm."""
    return lambda *args, **options: Gemm(ask, *args, **options)


class Gemm:
    """A product with its arguments: tile is BLOCK_M, BLOCK_N, BLOCK_K, warps, stages."""

    def __init__(
        self, ask, dtype: torch.dtype = torch.float16, out: torch.dtype = torch.float32, *,
        m: int = 64, n: int = 64, k: int = 64, tile: tuple[int, ...] = (64, 64, 32, 4, 3),
        a_columns: bool = False, b_columns: bool = False, acc: str = "float32",
        relu: bool = False, precision: str = "tf32",
    ) -> None:  # fmt: skip
        self.ask, self.out, self.shape, self.tile = ask, out, (m, n, k), tile
        g = torch.Generator().manual_seed(1)
        if dtype == torch.int8:
            a, b = (torch.randint(-100, 100, s, generator=g, dtype=dtype) for s in ((m, k), (k, n)))
        else:
            a, b = (torch.randn(*s, generator=g).to(dtype) for s in ((m, k), (k, n)))
        self.wanted = (a.double().clamp(min=0) if relu else a.double()) @ b.double()
        self.a = a.t().contiguous() if a_columns else a
        self.b = b.t().contiguous() if b_columns else b
        self.constants = {
            "N": n, "K": k, "BLOCK_M": tile[0], "BLOCK_N": tile[1], "BLOCK_K": tile[2],
            "A_COLUMNS": a_columns, "B_COLUMNS": b_columns, "STAGES": tile[4], "ACC": acc,
            "RELU": relu, "PRECISION": precision,
        }  # fmt: skip

    @property
    def macs(self) -> int:
        m, n, k = self.shape
        return -(-m // self.tile[0]) * self.tile[0] * n * k

    def kernel(self, arch: int) -> Kernel:
        pointers = {"a_ptr": POINTERS[self.a.dtype], "b_ptr": POINTERS[self.b.dtype],
                        "c_ptr": POINTERS[self.out]}  # fmt: skip
        return self.ask(
            "kernel", function="gemm", signature={**pointers, "M": "i32"}, arch=arch,
            constants=self.constants, num_warps=self.tile[3], aligned=(0, 1, 2, 3),
        )  # fmt: skip

    def run(self, kernel: Kernel, **options):
        """(result, relative error, counters)."""
        m, n, _ = self.shape
        c = torch.full((m, n), 7, dtype=self.out)
        grid = -(-m // self.tile[0]), n // self.tile[1]
        counters = kernel.run(grid, [self.a, self.b, c, m], **options)
        error = ((c.double() - self.wanted).norm() / self.wanted.norm()).item()
        return c, error, counters
