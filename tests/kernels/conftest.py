"""Steps of real plans on random tensors, in buffers that show every stray access."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from r2n_kernels.engine.triton_target import kernel_target
from r2n_kernels.kernels.call import Call, launch
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.layout import PlanesLayout
from r2n_kernels.kernels.targets import INTERPRETER
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.steps import StepCase, cases
from r2n_kernels.proof.tolerance import judge
from r2n_kernels.reference import twins

GUARD = 4096  # elements on each side: more than any tile's row
NAN = float("nan")
FILLERS = {torch.uint8: 255, torch.int8: -128}  # no kernel writes such an int8


class Buffers:
    """Hands out guarded tensors and checks their guards."""

    def __init__(self) -> None:
        self.device = "cpu" if interpreted() else "cuda"
        self._whole: list[Tensor] = []

    def guarded(self, value: Tensor) -> Tensor:
        """A copy of value between two guards: of NaN, or what FILLERS says."""
        size = value.numel()
        filler = FILLERS.get(value.dtype, NAN)
        whole = torch.full((size + 2 * GUARD,), filler, dtype=value.dtype, device=self.device)
        self._whole.append(whole)
        inner = whole[GUARD : GUARD + size].view(value.shape)
        inner.copy_(value)
        return inner

    def unwritten(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return self.guarded(torch.full(tuple(shape), NAN, dtype=dtype))

    def assert_guards(self) -> None:
        for whole in self._whole:
            for guard, where in ((whole[:GUARD], "before"), (whole[-GUARD:], "behind")):
                filler = FILLERS.get(guard.dtype, NAN)
                intact = guard.isnan() if filler != filler else guard == filler
                assert intact.all(), f"a store {where} a buffer"


@pytest.fixture
def buffers() -> Buffers:
    return Buffers()


@pytest.fixture
def check() -> Callable[[Tensor, Tensor, Tensor], None]:
    """check(actual, eager, exact): the tolerance rule, element sets of NaN included."""

    def verify(actual: Tensor, eager: Tensor, exact: Tensor) -> None:
        assert not actual.isnan().any(), "an element was never written, or a guard was read"
        verdict = judge("kernel", actual.cpu(), [eager.cpu()], exact.cpu())
        assert verdict.passed, verdict

    return verify


class Trial(StepCase):
    """A step on random data on the CPU, what it only writes full of NaN."""

    def images(self, name: str) -> list[Tensor]:
        """Return views [batch, ...] of everything in a buffer but gaps."""
        tensor = self.buffers[name]
        if tensor.ndim == 3:
            return [twins.images_of(plane, self.layout(name)) for plane in tensor]
        return [tensor.view(self.plan.batch, -1, tensor.shape[-1]) if tensor.ndim == 2 else tensor]

    def layout(self, name: str) -> PlanesLayout:
        """Return the layout of a buffer of planes."""
        options = self.step.options
        return (name in self.step.writes and options.get("out_layout")) or options["layout"]

    @property
    def kept(self) -> dict[str, Tensor | None]:
        """Return what the step must leave as it is."""
        inputs = {k: t for k, t in self.buffers.items() if k not in self.step.writes}
        return inputs | (vars(self.weights) if self.weights else {})


@pytest.fixture(scope="session")
def trials() -> Callable[..., Iterator[Trial]]:
    """trials(config, batch, height, width, dtype, *ops): of every kind of steps, or of some ops."""

    def make(config, batch, height, width, dtype, *ops, target=INTERPRETER, **options):
        if not interpreted():  # its own limits decide which tiles fit
            target = kernel_target(torch.device("cuda", 0))
        size = (height, width)
        plan = build_plan(config, batch, *size, dtype, "triton", target=target, **options)
        names = {s.name for s, _ in plan.distinct_steps() if not ops or s.op in ops}
        for case in cases(plan, only=lambda step: step.name in names):
            trial, step = Trial(**vars(case)), case.step
            for name, tensor in trial.buffers.items():
                if name not in step.reads:
                    for images in trial.images(name):
                        images.fill_(NAN)
                elif step.op != "prepare":
                    tensor.relu_()
            yield trial

    return make


@pytest.fixture(scope="session")
def same_bits() -> Callable[[Tensor, Tensor], bool]:
    """Whether two tensors are equal bit for bit, NaN included."""

    def same(one: Tensor, other: Tensor) -> bool:
        one, other = (t.cpu().contiguous().view(torch.uint8) for t in (one, other))
        return torch.equal(one, other)

    return same


@pytest.fixture
def verify(buffers, check, same_bits) -> Callable[[Trial], None]:
    """Runs a step on guarded copies and holds everything that it touched against its twin."""

    def verify(trial: Trial) -> None:
        ours, eager, exact = trial.copied(buffers.guarded), trial.twin(), trial.twin(torch.double)
        launch(ours.bound.calls())
        buffers.assert_guards()
        for name, tensor in trial.kept.items():
            if tensor is not None:
                assert same_bits(ours.kept[name], tensor), f"wrote into its input {name}"
        for name in trial.step.writes:
            result = ours.buffers[name]
            if result.ndim == 3:
                gaps = torch.ones_like(result, dtype=torch.bool)
                for plane in gaps:
                    twins.images_of(plane, trial.layout(name)).fill_(False)
                assert (result[gaps] == 0).all(), f"wrote into the gaps of {name}"
            actual, there = result.cpu(), ~exact[name].isnan()
            assert actual[~there].isnan().all(), f"wrote into another step's part of {name}"
            check(actual[there], eager[name][there], exact[name][there])

    return verify


@pytest.fixture
def run_programs(monkeypatch) -> Callable[[Call, Sequence[int]], None]:
    """run_programs(call, ids): those programs of a launch, in that order, in the interpreter."""
    if not interpreted():
        pytest.skip("a GPU orders its programs itself; Triton's interpreter can be told")
    from triton.runtime.interpreter import interpreter_builder

    @contextmanager
    def ordered(ids: Sequence[int], grid: int) -> Iterator[None]:
        with monkeypatch.context() as patch:
            place, size = interpreter_builder.set_grid_idx, interpreter_builder.set_grid_dim
            patch.setattr(interpreter_builder, "set_grid_dim", lambda *_: size(grid, 1, 1))
            patch.setattr(interpreter_builder, "set_grid_idx", lambda x, y, z: place(ids[x], y, z))
            yield

    def run(call: Call, ids: Sequence[int]) -> None:
        with ordered(ids, call.grid):
            dataclasses.replace(call, grid=len(ids)).launch()

    return run
