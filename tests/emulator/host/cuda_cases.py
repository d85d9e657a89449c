"""Host code that asks for a GPU, run in the emulator; test_host.py runs this file."""

from __future__ import annotations

import threading

import pytest
import torch
import triton
import triton.language as tl

from r2n_kernels.emulator import EmulationError, emulator


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + at, mask=at < n), tl.load(y_ptr + at, mask=at < n)
    tl.store(out_ptr + at, x + y, mask=at < n)


def add(x, y):
    """As in Triton's tutorial."""
    out = torch.empty_like(x)
    device = triton.runtime.driver.active.get_active_torch_device()
    assert x.is_cuda
    assert x.device == y.device == out.device == device
    with torch.cuda.device(x.device.index):
        add_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](
            x, y, out, x.numel(), BLOCK=64
        )
    return out


@pytest.fixture
def emu():
    with emulator(arch=90, cuda_as_cpu=True) as emu:
        yield emu


class TestCuda:
    def test_the_tutorial(self, emu):
        x, y = torch.rand(100, device="cuda"), torch.rand(100, device=torch.device("cuda:0"))
        torch.testing.assert_close(add(x, y), x + y)
        assert emu.launches[0].name == "add_kernel"

    def test_moves_are_copies(self, emu):
        host = torch.ones(4)
        there = (host.cuda(), host.to("cuda"), host.to(torch.device("cuda"), torch.float16),
                 host.to(0), host.to(device="cuda:0"), host.cuda(0, non_blocking=True))  # fmt: skip
        for tensor in there:
            tensor += 1
        back = there[0].cpu()
        there[0].add_(1)
        assert host.tolist() == [1] * 4
        assert back.tolist() == [2] * 4
        assert there[2].dtype == torch.float16

    def test_a_leaf_stays_one(self, emu):
        x = torch.ones(3, device="cuda", requires_grad=True)
        x.to("cuda").sum().backward()
        assert x.grad.tolist() == [1] * 3

    def test_a_function_of_ones_own(self, emu):
        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                assert x.is_cuda
                return add(x, x)

            @staticmethod
            def backward(ctx, gradient):
                assert gradient.is_cuda
                return add(gradient.contiguous(), torch.ones(64, device="cuda"))

        for backward in (lambda y: y.sum().backward(), lambda y: torch.autograd.backward(y.sum())):
            x = torch.ones(64, device="cuda", requires_grad=True)
            backward(Double.apply(x))
            assert x.grad.tolist() == [2] * 64
        (gradient,) = torch.autograd.grad(Double.apply(x).sum(), x)
        assert gradient.tolist() == [2] * 64
        with torch.cuda.device(0):
            assert gradient.is_cuda

    def test_a_checkpoint(self, emu, tmp_path):
        module = torch.nn.Linear(4, 2).cuda()
        torch.save(module.state_dict(), tmp_path / "checkpoint")
        kept = torch.load(tmp_path / "checkpoint", map_location="cuda")
        assert torch.equal(kept["weight"], module.weight)
        assert torch.ones(2).pin_memory().tolist() == [1, 1]

    def test_modules_generators_and_defaults(self, emu):
        assert torch.nn.Linear(4, 2).cuda()(torch.ones(1, 4, device="cuda")).is_cuda
        generator = torch.Generator(device="cuda").manual_seed(0)
        assert isinstance(generator, torch.Generator)
        again = torch.Generator().manual_seed(0)
        wanted = torch.randn(3, generator=again)
        assert torch.equal(torch.randn(3, device="cuda", generator=generator), wanted)
        with torch.device("cuda"):
            assert torch.zeros(2, pin_memory=False).get_device() == 0

    def test_random_numbers_are_those_of_a_seed(self, emu):
        torch.cuda.manual_seed(3)
        kept = torch.cuda.get_rng_state()
        first = torch.randn(4, device="cuda")
        torch.cuda.set_rng_state(kept)
        assert torch.equal(torch.randn(4, device="cuda"), first)
        torch.cuda.manual_seed_all(3)
        assert torch.equal(torch.randn(4, device="cuda"), first)

    @pytest.mark.parametrize(("arch", "name"), [(80, "A100"), (120, "RTX 5090")])
    def test_what_the_device_is(self, arch, name):
        with emulator(arch=arch, cuda_as_cpu=True):
            assert torch.cuda.is_available()
            assert torch.cuda.get_device_capability() == divmod(arch, 10)
            assert name in torch.cuda.get_device_properties(0).name
            torch.cuda.synchronize()
            torch.cuda.manual_seed_all(0)
            with torch.cuda.stream(torch.cuda.Stream()):
                assert torch.cuda.current_device() == 0

    def test_a_benchmark_runs_without_telling_anything(self, emu):
        x = torch.rand(64, device="cuda")
        assert triton.testing.do_bench(lambda: add(x, x), warmup=1, rep=1) >= 0

    def test_all_is_as_before(self):
        before = torch.cuda.is_available, torch.Generator, torch.cuda.Stream, torch.version.cuda
        with pytest.raises(ZeroDivisionError), emulator(arch=80, cuda_as_cpu=True):
            _ = 1 / 0
        after = torch.cuda.is_available, torch.Generator, torch.cuda.Stream, torch.version.cuda
        assert after == before
        assert torch.ones(1).device.type == "cpu"

    def test_without_the_option_a_gpu_is_missing(self):
        with emulator(arch=80), pytest.raises((AssertionError, RuntimeError)):
            torch.ones(1, device="cuda")


class TestEmpty:
    """Memory that nobody wrote."""

    @staticmethod
    def blanks(emu):
        """Return how many bytes of each argument nobody had written when the kernel ran."""
        seen = []
        original = emu._mode.blanks.of_arguments

        def look(args):
            found = original(args)
            seen.append({i: int(mask.sum()) for i, mask in found.items()})
            return found

        emu._mode.blanks.of_arguments = look
        return seen

    def test_it_is_nan(self):
        with emulator(arch=80):
            for made in (
                torch.empty(4),
                torch.empty_like(torch.ones(4)),
                torch.ones(1).new_empty(4),
            ):
                assert made.isnan().all()
            assert (torch.empty(4, dtype=torch.int32) == -1).all()

    def test_what_a_launch_wrote_is_written(self):
        with emulator(arch=80) as emu:
            seen = self.blanks(emu)
            out = torch.empty(100)
            ones = torch.ones(100)
            add_kernel[(1,)](ones, ones, out, 60, BLOCK=64)
            add_kernel[(1,)](ones, ones, out[50:], 20, BLOCK=64)
            add_kernel[(1,)](ones, ones, out, 60, BLOCK=64)
        assert seen == [{2: 400}, {2: 160}, {2: 120}]
        assert (out[:70] == 2).all()
        assert out[70:].isnan().all()

    @pytest.mark.parametrize(
        "write",
        [lambda x: x.fill_(1), lambda x: x[1:].zero_(), lambda x: torch.add(x, 1, out=x),
         lambda x: x.__setitem__(0, 1), lambda x: torch.nn.init.ones_(x), lambda x: x.numpy()],
    )  # fmt: skip
    def test_what_torch_may_have_written_is_written(self, write):
        with emulator(arch=80) as emu:
            seen = self.blanks(emu)
            out = torch.empty(64)
            write(out)
            add_kernel[(1,)](torch.ones(64), torch.ones(64), out, 64, BLOCK=64)
        assert seen == [{}]

    def test_reading_it_is_reported(self):
        text = r"uninitialised.*argument y_ptr .*, y_ptr\[32\] of 64 fp32"
        with emulator(arch=80):
            ones, y = torch.ones(64), torch.empty(64)
            add_kernel[(1,)](ones, ones, y, 32, BLOCK=64)
            with pytest.raises(EmulationError, match=text):
                add_kernel[(1,)](ones, y, torch.empty(64), 64, BLOCK=64)
        with emulator(arch=80, empty="fill"):
            y, out = torch.empty(64), torch.empty(64)
            add_kernel[(1,)](ones, y, out, 64, BLOCK=64)
        assert out.isnan().all()

    def test_memory_that_is_used_again(self):
        with emulator(arch=80) as emu:
            seen = self.blanks(emu)
            for _ in range(5):
                torch.empty(64)
                add_kernel[(1,)](torch.ones(64), torch.ones(64), torch.zeros(64), 64, BLOCK=64)
        assert seen == [{}] * 5


def test_launches_of_threads(emu):
    """They run in the emulator; torch's calls of another thread are not mapped."""
    x, found = torch.ones(64), []

    def work():
        out = torch.zeros(64)
        add_kernel[(1,)](x, x, out, 64, BLOCK=64)
        found.append(out.sum().item())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [128] * 3
    assert len(emu.launches) == 3


def test_a_finding_in_code_for_a_gpu(emu):
    x = torch.ones(64, device="cuda")
    with pytest.raises(EmulationError, match=r"argument out_ptr .*, out_ptr\[60\] of 60 fp32"):
        add_kernel[(1,)](x, x, x[:60].clone(), 64, BLOCK=64)
