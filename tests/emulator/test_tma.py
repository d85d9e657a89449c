"""Kernels of Triton and Gluon with descriptors, clusters and small floats, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from r2n_kernels.emulator import SCHEDULES, EmulationError, Kernel, mutants
from r2n_kernels.emulator.small_floats import FORMATS
from r2n_kernels.emulator.tensormaps import host_arguments

SOME = ("lockstep", "random")
MATMUL = {"BM": 128, "BN": 64, "BK": 64}
PART = ([[1, 0]], [[0, 1]])  # of a cluster of two: each CTA has half of the rows, or columns


def run(made, grid, args, **options):
    """Launch with a host's descriptors where they are, as Triton's launcher lays them out."""
    kernel, metas = made
    about, given = iter(metas or ()), []
    for arg in args:
        is_descriptor = isinstance(arg, TensorDescriptor)
        given += host_arguments(arg, next(about)) if is_descriptor else [arg]
    return kernel.run(grid, given, **options)


class Product:
    """A product of odd sizes: tiles reach over the edges."""

    def __init__(self, m=200, n=128, k=160):
        g = torch.Generator().manual_seed(2)
        self.a, self.b = (torch.randn(s, generator=g).half() for s in ((m, k), (k, n)))
        self.c, self.k = torch.full((m, n), 9.0).half(), k

    def descriptors(self, bm, bn, bk):
        tiles = zip((self.a, self.b, self.c), ([bm, bk], [bk, bn], [bm, bn]), strict=True)
        return [TensorDescriptor.from_tensor(x, tile) for x, tile in tiles]

    @property
    def error(self):
        wanted = self.a.double() @ self.b.double()
        return ((self.c.double() - wanted).norm() / wanted.norm()).item()


def plain_types(bm, bn, bk):
    shapes = {"a_desc": (bm, bk), "b_desc": (bk, bn), "c_desc": (bm, bn)}
    return {name: f"tensordesc<fp16[{m},{n}]>" for name, (m, n) in shapes.items()} | {"K": "i32"}


def gluon_types(bm, bn, bk):
    shapes = {"a_desc": [bm, bk], "b_desc": [bk, bn], "c_desc": [bm, bn]}
    return {name: ("fp16", shape, None, shape) for name, shape in shapes.items()} | {"K": "i32"}


def check_product(made, schedules, **shape):
    for schedule in schedules:
        case = Product(**shape)
        args = [*case.descriptors(**{k.lower(): v for k, v in MATMUL.items()}), case.k]
        counters = run(made, (2, 2), args, schedule=schedule, seed=3)
        assert case.error < 3e-4, schedule
        assert not counters.report_counts
    return counters


HOST = [
    (90, {}), (100, {"SPECIALIZE": True}),
    *(pytest.param(*x, marks=pytest.mark.slow) for x in (
        (100, {}), (120, {}), (120, {"SPECIALIZE": True}), (90, {"num_ctas": 2}),
        (100, {"num_ctas": 4}),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("arch", "options"), HOST)
def test_descriptors_of_the_host(tma_kernel, arch, options):
    options = dict(options)
    constants = {**MATMUL, "SPECIALIZE": options.pop("SPECIALIZE", False)}
    types = plain_types(128, 64, 64)
    made = tma_kernel("host", signature=types, constants=constants, arch=arch, **options)
    counters = check_product(made, SOME)
    assert counters.unique[0][0] == 200 * 160 * 2  # A, each byte once


@pytest.mark.parametrize(
    "arch", [90, *(pytest.param(arch, marks=pytest.mark.slow) for arch in (100, 120))]
)
def test_descriptors_of_the_device(tma_kernel, arch):
    pointers = dict.fromkeys(("a_ptr", "b_ptr", "c_ptr"), "*fp16")
    types = {**pointers, **dict.fromkeys("MNK", "i32")}
    made = tma_kernel("device", signature=types, constants=MATMUL, arch=arch)
    for schedule in SOME:
        case = Product()
        counters = run(
            made, (2, 2), [case.a, case.b, case.c, 200, 128, case.k], schedule=schedule
        )  # fmt: skip
        assert case.error < 3e-4
        assert not counters.report_counts


@pytest.mark.parametrize("arch", [90, pytest.param(100, marks=pytest.mark.slow)])
def test_warps_specialised_in_gluon(tma_kernel, arch):
    constants = {**MATMUL, "S": 2, "TENSOR_MEMORY": arch == 100}
    types = gluon_types(128, 64, 64)
    made = tma_kernel("specialised", signature=types, constants=constants, arch=arch)
    check_product(made, SCHEDULES)


@pytest.mark.parametrize("arch", [pytest.param(90, marks=pytest.mark.slow), 100])
def test_a_missing_wait_is_reported(tma_kernel, arch):
    constants = {**MATMUL, "SPECIALIZE": False}
    types = plain_types(128, 64, 64)
    kernel, metas = tma_kernel("host", signature=types, constants=constants, arch=arch)
    wanted = ("no mbarrier wait", "no fence.proxy.async", "no cp.async.bulk.wait_group")
    seen = set()
    for mutant in mutants(kernel.ptx):
        if mutant.description not in wanted:
            continue
        seen.add(mutant.description)
        made = Kernel(mutant.text, kernel.dynamic_bytes, kernel.num_warps), metas
        with pytest.raises(EmulationError, match=r"^\[(race|proxy)\] tma_kernels\.py:\d+"):
            check_product(made, SOME[:1], k=320)
    assert seen == set(wanted)


@pytest.mark.parametrize(("arch", "ctas"), [(90, 2), pytest.param(100, 4, marks=pytest.mark.slow)])
def test_ctas_of_a_cluster_exchange_through_shared_memory(tma_kernel, arch, ctas):
    types, sizes = {"x_ptr": "*fp32", "y_ptr": "*fp32"}, {"R": 64, "C": 64}
    made = tma_kernel("softmax", signature=types, constants=sizes, arch=arch, num_ctas=ctas)
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for schedule in SCHEDULES:
        y = torch.zeros(64, 64)
        run(made, (1,), [x, y], schedule=schedule)
        assert torch.allclose(y, torch.softmax(x, 0).T, atol=1e-6)
    kernel = made[0]
    text = kernel.ptx.replace("barrier.cluster.arrive.aligned;", "").replace(
        "barrier.cluster.wait.aligned;", ""
    )
    with pytest.raises(EmulationError, match=r"\[race\].*of the cluster|\[uninitialised\]"):
        run((Kernel(text, kernel.dynamic_bytes, 4), []), (1,), [x, y])


@pytest.mark.parametrize("arch", [90, pytest.param(100, marks=pytest.mark.slow)])
def test_a_load_is_multicast(tma_kernel, arch):
    one = ("fp16", [64, 64], [[0, 0]], [64, 64])
    made = tma_kernel(
        "multicast", signature={"x_desc": one, "y_desc": one}, constants={}, arch=arch, num_ctas=2
    )  # fmt: skip
    x = torch.randn(64, 64).half()
    for schedule in SOME:
        y = torch.zeros_like(x)
        args = [TensorDescriptor.from_tensor(t, [64, 64]) for t in (x, y)]
        counters = run(made, (1,), args, schedule=schedule)
        assert torch.equal(x, y)
        assert counters.shared["cp.async.bulk"].bytes == 2 * x.nbytes  # into both CTAs


@pytest.mark.slow
@pytest.mark.parametrize("m", [128, 256])
def test_two_ctas_share_a_product(tma_kernel, m):
    n, k = 128, 64
    shapes = {"a_desc": [m, k], "b_desc": [k, n], "c_desc": [m, n]}
    parts = dict(zip(shapes, (PART[0], PART[1], PART[0]), strict=True))
    made = tma_kernel(
        "pair", signature={x: ("fp16", s, parts[x], s) for x, s in shapes.items()},
        constants={"M": m, "N": n, "K": k}, arch=100, num_ctas=2,
    )  # fmt: skip
    for schedule in SCHEDULES:
        case = Product(m, n, k)
        run(made, (1,), case.descriptors(m, n, k), schedule=schedule)
        assert case.error < 3e-4


# (in pairs, sizes, tile of a CTA, what the CTAs have of A, B and C)
CLUSTERS = {
    "2 rows": (False, (256, 128), (128, 128), ([[1, 0]], [[0, 0]], [[1, 0]])),
    "2 x 2": (False, (256, 256), (128, 128),
              ([[1, 0], [0, 0]], [[0, 0], [0, 1]], [[1, 0], [0, 1]])),
    "2 pairs": (True, (512, 128), (128, 128),
                ([[1, 0], [2, 0]], [[0, 1], [0, 0]], [[1, 0], [2, 0]])),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CLUSTERS)
def test_ctas_of_a_cluster_share_their_loads(tma_kernel, name):
    pairs, (m, n), (bm, bn), parts = CLUSTERS[name]
    k, bk = 256, 64
    shapes = {"a_desc": [m, bk], "b_desc": [bk, n], "c_desc": [m, n]}
    types = {x: ("fp16", shape, part, shape)
             for (x, shape), part in zip(shapes.items(), parts, strict=True)}  # fmt: skip
    constants = {"M": m, "N": n, "BK": bk, "S": 2, "BM": bm, "BN": bn, "PARTS": parts[2],
                 "PAIRS": pairs}  # fmt: skip
    made = tma_kernel("cluster", signature={**types, "K": "i32"}, constants=constants, arch=100,
                      num_ctas=1 << len(parts[0]))  # fmt: skip
    for schedule in SOME:
        case = Product(m, n, k)
        counters = run(made, (1,), [*case.descriptors(m, n, bk), k], schedule=schedule)
        assert case.error < 3e-4
        assert counters.unique[0][0] == case.a.nbytes


@pytest.mark.slow
def test_rows_are_gathered_and_scattered(tma_kernel):
    types = {
        "x_desc": ("fp16", [1, 64], None, [32, 64]), "i_ptr": "*i32",
        "y_desc": ("fp16", [1, 64], None, [32, 64]), "column": "i32",
    }  # fmt: skip
    made = tma_kernel("rows", signature=types, constants={"R": 32}, arch=100)
    x, y = torch.randn(100, 128).half(), torch.zeros(64, 128).half()
    rows = torch.randint(0, 100, (32,), dtype=torch.int32)
    rows[3] = 200  # beyond: zeros
    args = [TensorDescriptor.from_tensor(t, [1, 64]) for t in (x, y)]
    run(made, (1,), [args[0], rows, args[1], 64])
    wanted = torch.cat([x, torch.zeros(101, 128).half()])[rows.long(), 64:]
    assert torch.equal(y[::2, 64:], wanted)
    assert not y[1::2].any()
    assert not y[:, :64].any()


@pytest.mark.parametrize("side_by_side", [1, 3, None])
def test_programs_take_over_others_that_have_not_begun(tma_kernel, side_by_side):
    made = tma_kernel(
        "stealing", signature={"x_ptr": "*fp32", "y_ptr": "*fp32"}, constants={"BLOCK": 128},
        arch=100,
    )  # fmt: skip
    x = torch.randn(7 * 128)
    for schedule in SOME:
        y = torch.zeros_like(x)
        counters = run(made, (7,), [x, y], schedule=schedule, side_by_side=side_by_side)
        assert torch.equal(y, x + 1)
        begun = counters.by_base()["exit"] + counters.by_base()["ret"]
        assert begun == 4 * (side_by_side or 7)


@pytest.mark.slow
def test_reductions_of_tiles(tma_kernel):
    one = ("fp32", [64, 32], None, [64, 32])
    made = tma_kernel(
        "sum", signature={"x_desc": one, "y_desc": one}, constants={"BLOCK": 64}, arch=90
    )  # fmt: skip
    x, y = torch.randn(256, 32), torch.zeros(64, 32)
    counters = run(made, (4,), [TensorDescriptor.from_tensor(t, [64, 32]) for t in (x, y)])
    assert torch.allclose(y, x.view(4, 64, 32).sum(0), atol=1e-5)
    assert not counters.report_counts


SCALED = [
    (100, "e4m3", "e4m3", 32), (120, "e5m2", "e4m3", 32),
    *(pytest.param(*x, marks=pytest.mark.slow) for x in (
        (90, "e4m3", "e4m3", 32), (100, "e2m1", "e2m1", 32), (100, "e4m3", "e2m1", 32),
        (100, "e2m1", "e2m1", 16), (120, "e2m1", "e2m1", 32), (120, "e2m1", "e2m1", 16),
    )),
]  # fmt: skip


def operand(rng, name: str, rows: int, k: int) -> tuple[torch.Tensor, np.ndarray]:
    """(what a kernel is given, its numbers); two e2m1 lie in a byte."""
    if name == "e2m1":
        raw = rng.integers(0, 256, (rows, k // 2)).astype(np.uint8)
        nibbles = np.stack([raw & 15, raw >> 4], -1).reshape(rows, k)
        return torch.from_numpy(raw), FORMATS[name].values[nibbles]
    dtype = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}[name]
    x = torch.from_numpy(rng.standard_normal((rows, k)).astype(np.float32)).to(dtype)
    return x, x.float().numpy()


@pytest.mark.parametrize(("arch", "a", "b", "group"), SCALED)
def test_block_scaled_products(tma_kernel, arch, a, b, group):
    m, n, k, rng = 128, 64, 128, np.random.default_rng(0)
    pointers = {"e4m3": "*fp8e4nv", "e5m2": "*fp8e5", "e2m1": "*u8"}
    scale = "*u8" if group == 32 else "*fp8e4nv"
    packed = {"PA": 1 + (a == "e2m1"), "PB": 1 + (b == "e2m1")}
    made = tma_kernel(
        "scaled", arch=arch, signature={
            "a_ptr": pointers[a], "b_ptr": pointers[b], "sa_ptr": scale, "sb_ptr": scale,
            "c_ptr": "*fp32"},
        constants={"M": m, "N": n, "K": k, "A": a, "B": b, **packed, "GROUP": group},
    )  # fmt: skip
    (left, x), (right, y) = operand(rng, a, m, k), operand(rng, b, n, k)
    if group == 32:
        raw = [torch.from_numpy(rng.integers(120, 134, (r, k // 32)).astype(np.uint8))
               for r in (m, n)]  # fmt: skip
        factors = [2.0 ** (s.numpy().astype(float) - 127) for s in raw]
    else:
        raw, factors = zip(*(operand(rng, "e4m3", r, k // 16) for r in (m, n)), strict=True)
    wanted = (x * np.repeat(factors[0], group, 1)) @ (y * np.repeat(factors[1], group, 1)).T
    for schedule in SOME:
        c = torch.zeros(m, n)
        counters = run(made, (1,), [left, right, *raw, c], schedule=schedule)
        assert np.linalg.norm(c.numpy() - wanted) < 1e-6 * np.linalg.norm(wanted)
        assert not counters.report_counts


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [("e4m3", "e4m3"), ("e2m1", "e2m1"), ("e4m3", "e2m1")])
def test_scales_copied_to_tensor_memory(tma_kernel, a, b):
    m, n, k, rng = 128, 128, 256, np.random.default_rng(1)
    types = {}
    for name, t, rows in (("a_desc", a, m), ("b_desc", b, n)):
        block = [rows, k // 2 if t == "e2m1" else k]
        types[name] = ("u8" if t == "e2m1" else "fp8e4nv", block, None, block,
                       t == "e2m1" and a != b)  # fmt: skip
    types |= {"sa_ptr": "*u8", "sb_ptr": "*u8", "c_ptr": "*fp32"}
    constants = {"M": m, "N": n, "K": k, "A": a, "B": b}
    made = tma_kernel("copied_scales", signature=types, constants=constants, arch=100)
    (left, x), (right, y) = operand(rng, a, m, k), operand(rng, b, n, k)
    raw = [torch.from_numpy(rng.integers(120, 134, (r, k // 32)).astype(np.uint8)) for r in (m, n)]
    packed = [s.view(1, 4, 32, k // 128, 4).permute(0, 3, 2, 1, 4).contiguous() for s in raw]
    factors = [np.repeat(2.0 ** (s.numpy().astype(float) - 127), 32, 1) for s in raw]
    wanted = (x * factors[0]) @ (y * factors[1]).T
    tiles = [TensorDescriptor.from_tensor(t, list(t.shape)) for t in (left, right)]
    for schedule in SOME:
        c = torch.zeros(m, n)
        run(made, (1,), [*tiles, *packed, c], schedule=schedule)
        assert np.linalg.norm(c.numpy() - wanted) < 1e-6 * np.linalg.norm(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("m", [64, 128])
@pytest.mark.parametrize("shape", ["16x64b", "16x128b", "16x256b", "32x32b_splitn"])
def test_shapes_of_moves_to_and_from_tensor_memory(tma_kernel, m, shape):
    other = "16x128b" if shape == "16x64b" else "16x64b"
    made = tma_kernel(
        "shapes", signature={"x_ptr": "*fp32", "y_ptr": "*fp32"},
        constants={"M": m, "N": 64, "STORE": shape, "LOAD": other}, arch=100,
    )  # fmt: skip
    x, y = torch.randn(m, 64), torch.zeros(m, 64)
    run(made, (1,), [x, y])
    assert torch.equal(x, y)
