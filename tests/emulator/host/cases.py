"""Host code as people write it, run in the emulator: test_host.py runs this file where kernels are
compiled, for under TRITON_INTERPRET=1 they cannot be."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import pytest
import torch
import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.tools.tensor_descriptor import TensorDescriptor

from r2n_kernels.emulator import EmulationError, emulator
from r2n_kernels.emulator.host.progress import told


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + at, mask=at < n), tl.load(y_ptr + at, mask=at < n)
    tl.store(out_ptr + at, x + y, mask=at < n)


@triton.jit
def endless_kernel(x_ptr, y_ptr):
    i = 0
    while i >= 0:
        i = (i + tl.load(x_ptr)) % 1000
    tl.store(y_ptr, i)


@triton.jit
def where_kernel(out_ptr):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    at = (z * tl.num_programs(1) + y) * tl.num_programs(0) + x
    tl.store(out_ptr + at, x + 10 * y + 100 * z)


@triton.jit
def strided_kernel(x_ptr, out_ptr, rows, columns, stride_r, stride_c, B: tl.constexpr):
    r, c = tl.arange(0, B)[:, None], tl.arange(0, B)[None, :]
    inside = (r < rows) & (c < columns)
    x = tl.load(x_ptr + r * stride_r + c * stride_c, mask=inside, other=0)
    tl.store(out_ptr + r * B + c, x)


@triton.jit
def scaled_kernel(pair, bias_ptr, scale, shift, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(pair[0] + at) * scale + shift
    if bias_ptr is not None:
        x += tl.load(bias_ptr + at)
    tl.store(pair[1] + at, x)


@triton.jit
def descriptor_kernel(source, target, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK
    target.store([row, 0], source.load([row, 0]) * 2)


@triton.jit
def made_kernel(x_ptr, y_ptr, M, N, BLOCK: tl.constexpr):
    source = tl.make_tensor_descriptor(x_ptr, [M, N], [N, 1], [BLOCK, BLOCK])
    target = tl.make_tensor_descriptor(y_ptr, [M, N], [N, 1], [BLOCK, BLOCK])
    target.store([tl.program_id(0) * BLOCK, 0], source.load([tl.program_id(0) * BLOCK, 0]) * 2)


@triton.jit
def null_kernel(address_ptr):
    tl.store(tl.load(address_ptr).to(tl.pointer_type(tl.float32)), 1.0)


@triton.jit
def racing_kernel(x_ptr):
    tl.store(x_ptr + tl.arange(0, 64) % 2, tl.arange(0, 64))


@gluon.jit
def gluon_kernel(x_ptr, n, BLOCK: gl.constexpr):
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    at = gl.program_id(0) * BLOCK + gl.arange(0, BLOCK, layout)
    gl.store(x_ptr + at, gl.load(x_ptr + at, at < n) + 1, at < n)


def tuned(**how):
    configs = [triton.Config({"BLOCK": n}, num_warps=n // 32) for n in (4096, 64, 128)]
    heuristic = triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})

    @triton.jit
    def kernel(x_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
        tl.static_assert(BLOCK < 4096)
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        if EVEN:
            tl.store(x_ptr + at, tl.load(x_ptr + at) + 1)
        else:
            tl.store(x_ptr + at, tl.load(x_ptr + at, at < n) + 1, at < n)

    return triton.autotune(configs, key=["n"], **how)(heuristic(kernel))


@pytest.fixture(params=[80, 90])
def emu(request):
    with emulator(arch=request.param) as emu:
        yield emu


X, Y = torch.arange(1000.0), torch.ones(1000)


class TestLaunch:
    def test_keywords_and_a_grid_function(self, emu):
        out = torch.empty(1000)
        compiled = add_kernel[lambda meta: (triton.cdiv(1000, meta["BLOCK"]),)](
            X, Y, out, n=1000, BLOCK=128, num_warps=2, num_stages=1
        )
        assert torch.equal(out, X + Y)
        assert compiled.metadata.num_warps == 2
        (launch,) = emu.launches
        assert (launch.name, launch.grid) == ("add_kernel", (8, 1, 1))
        assert launch.counters.global_["st"].bytes == 4000

    @pytest.mark.parametrize(("n", "block"), [(1, 1), (16, 16), (17, 32)])
    def test_integers_are_specialised(self, emu, n, block):
        out = torch.zeros(n)
        add_kernel[(1,)](X[:n], Y[:n], out, n, block)
        assert torch.equal(out, X[:n] + Y[:n])

    def test_a_grid_of_three_axes(self, emu):
        out = torch.full((2, 3, 4), -1, dtype=torch.int32)
        where_kernel[4, 3, 2](out)
        axes = torch.meshgrid(torch.arange(2), torch.arange(3), torch.arange(4), indexing="ij")
        assert torch.equal(out.long(), 100 * axes[0] + 10 * axes[1] + axes[2])

    def test_views(self, emu):
        x = torch.arange(64 * 64, dtype=torch.int32).reshape(64, 64)
        for view in (x.t()[:20, 3:30], x[5:25, ::2][:, :27], x[:20, 7].unsqueeze(1).expand(20, 9)):
            out = torch.zeros(32, 32, dtype=torch.int32)
            strided_kernel[(1,)](view, out, *view.shape, *view.stride(), B=32)
            assert torch.equal(out[: view.shape[0], : view.shape[1]], view)

    def test_writes_to_a_view_leave_the_rest(self, emu):
        x = torch.zeros(8, 100)
        add_kernel[(1,)](X[:50], Y[:50], x[3, 20:70], 50, 64)
        assert torch.equal(x[3, 20:70], X[:50] + 1)
        assert x.count_nonzero() == 50

    @pytest.mark.parametrize("shift", [1, 3, 1 << 40])
    def test_tuples_none_and_numbers(self, emu, shift):
        class Pair(NamedTuple):
            source: torch.Tensor
            target: torch.Tensor

        out = torch.zeros(64)
        scaled_kernel[(1,)]((X, out), None, 2.5, shift, BLOCK=64)
        torch.testing.assert_close(out, X[:64] * 2.5 + shift)
        scaled_kernel[(1,)](Pair(X, out), Y, 2, shift, BLOCK=64)
        torch.testing.assert_close(out, X[:64] * 2 + shift + 1)

    def test_warmup_launches_nothing(self, emu):
        out = torch.zeros(1000)
        add_kernel.warmup(X, Y, out, 1000, BLOCK=512, grid=(2,))
        assert not emu.launches
        assert not out.any()

    def test_a_hook(self, emu):
        seen = []
        add_kernel.add_pre_run_hook(lambda *args, **kwargs: seen.append(kwargs["BLOCK"]))
        add_kernel.run(X, Y, torch.zeros(64), 64, BLOCK=64, grid=(1,), warmup=False)
        add_kernel.pre_run_hooks.clear()
        assert seen == [64]

    def test_gluon(self, emu):
        x = torch.zeros(200)
        gluon_kernel[(2,)](x, 200, BLOCK=128, num_warps=4)
        assert (x == 1).all()

    def test_nothing_to_launch(self, emu):
        out = torch.zeros(4)
        add_kernel[(0,)](X, Y, out, 4, BLOCK=4)
        assert not out.any()


def test_descriptors_from_the_host(emu):
    x, y = torch.randn(64, 64), torch.zeros(64, 64)
    blocks = [TensorDescriptor.from_tensor(t, [32, 32]) for t in (x, y)]
    descriptor_kernel[(2,)](*blocks, BLOCK=32)
    assert torch.equal(y[:, :32], 2 * x[:, :32])
    assert not y[:, 32:].any()


def test_descriptors_made_by_the_kernel(emu):
    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, dtype=torch.int8))
    x, y = torch.randn(64, 64), torch.zeros(64, 64)
    made_kernel[(2,)](x, y, 64, 64, BLOCK=32)
    assert torch.equal(y[:, :32], 2 * x[:, :32])


class TestAutotune:
    @pytest.mark.parametrize(("configs", "launches"), [("first", 1), ("all", 2)])
    def test_configurations(self, configs, launches):
        """The one that does not compile is passed over; what another wrote is taken back."""
        kernel, x = tuned(), torch.zeros(100)
        with emulator(arch=80, configs=configs) as emu:
            kernel[lambda meta: (triton.cdiv(100, meta["BLOCK"]),)](x, 100)
        assert (x == 1).all()
        assert len(emu.launches) == launches
        assert kernel.best_config.kwargs == {"BLOCK": 64}
        assert not kernel.cache  # on a GPU it is timed all the same

    def test_none_compiles(self):
        kernel = tuned(
            prune_configs_by={"early_config_prune": lambda configs, *_, **__: configs[:1]}
        )
        with emulator(arch=80), pytest.raises(Exception, match="BLOCK < 4096"):
            kernel[(1,)](torch.zeros(4), 4)


class TestMessages:
    def test_an_argument_has_its_name(self):
        text = r"cases.py:\d+: outside: byte 400 of argument y_ptr .*, y_ptr\[100\] of 100 fp32"
        with emulator(arch=80), pytest.raises(EmulationError, match=text):
            add_kernel[(1,)](X[:128], Y[:100], torch.zeros(128), 128, BLOCK=128)

    def test_a_null_pointer(self):
        with emulator(arch=80), pytest.raises(EmulationError, match="outside: null pointer"):
            null_kernel[(1,)](torch.zeros(1, dtype=torch.int64))

    def test_parts_of_a_tuple(self):
        with emulator(arch=80), pytest.raises(EmulationError, match=r"pair\[1\]\[32\] of 32 fp32"):
            scaled_kernel[(1,)]((X, torch.zeros(32)), None, 2.5, 1, BLOCK=64)


class TestContext:
    def test_triton_has_its_own_driver_back(self):
        from triton.runtime import driver

        before = vars(driver).copy()
        with pytest.raises(EmulationError, match="race"), emulator(arch=80):
            racing_kernel[(1,)](torch.zeros(2, dtype=torch.int32))
        assert vars(driver) == before

    def test_findings_are_kept_where_not_strict(self):
        with emulator(arch=80, strict=False) as emu:
            racing_kernel[(1,)](torch.zeros(2, dtype=torch.int32))
        assert emu.launches[0].counters.report_counts["race"]

    def test_one_architecture_in_another(self):
        args = X, Y, torch.zeros(64), 64
        with emulator(arch=80) as outer:
            add_kernel[(1,)](*args, BLOCK=64)
            with emulator(arch=90) as inner:
                add_kernel[(1,)](*args, BLOCK=64)
            add_kernel[(1,)](*args, BLOCK=64)
        assert [".target sm_80" in one.kernel.ptx for one in outer.launches] == [True, True]
        assert [".target sm_90" in one.kernel.ptx for one in inner.launches] == [True]

    @pytest.mark.parametrize("arch", ["sm_90", "90", "sm_90a", 90])
    def test_names_of_architectures(self, arch):
        assert emulator(arch=arch).device.chip == "H100"

    @pytest.mark.parametrize("arch", [75, "sm90x", "", True, None])
    def test_unknown_architectures(self, arch):
        with pytest.raises(ValueError, match=r"unknown architecture .* expected one of sm_80, "):
            emulator(arch=arch)

    def test_unknown_options(self):
        with pytest.raises(ValueError, match="unknown schedule 'fast'"):
            emulator(schedule="fast")
        with pytest.raises(ValueError, match="unknown configs 'best'; expected one of first, all"):
            emulator(configs="best")
        with pytest.raises(ValueError, match="unknown empty 'zero'; expected one of report, fill"):
            emulator(empty="zero")

    def test_opened_twice(self):
        emulation = emulator(arch=80)
        with emulation, pytest.raises(EmulationError, match="this emulation is open"):
            emulation.__enter__()

    def test_interpreted_kernels(self, monkeypatch):
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        with pytest.raises(EmulationError, match="unset it to emulate"):
            emulator(arch=80).__enter__()


def test_progress(capfd):
    with told("slow_kernel", 8, every=0.01) as note:
        note(3)
        time.sleep(0.1)
    *_, last = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"emulator: slow_kernel: 3 of 8 CTAs after \d+ s", last)


def test_what_never_ends_meets_a_limit():
    x, y = torch.ones(1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    with (
        emulator(arch=90, max_steps=3000),
        pytest.raises(EmulationError, match=r"over max_steps=3,000: CTA \(0, 0, 0\) warps 0-3 "),
    ):
        endless_kernel[(1,)](x, y)
