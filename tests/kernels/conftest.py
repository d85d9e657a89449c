"""Steps of real plans on random tensors, in buffers that show every stray access."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch import Tensor

from r2n_kernels import reference
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.triton_ops import BoundStep, allocate, bind
from r2n_kernels.engine.triton_target import kernel_target
from r2n_kernels.fold import fold
from r2n_kernels.fold.triton_layout import PackedConv, pack_network
from r2n_kernels.kernels.call import Call, launch
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.layout import PlanesLayout
from r2n_kernels.kernels.op import all_ops
from r2n_kernels.kernels.targets import INTERPRETER
from r2n_kernels.plan import Plan, Step, build_plan
from r2n_kernels.reference import twins

GUARD = 4096  # elements on each side: more than any tile's row
NAN = float("nan")


class Buffers:
    """Hands out guarded tensors and checks their guards."""

    def __init__(self) -> None:
        self.device = "cpu" if interpreted() else "cuda"
        self._whole: list[Tensor] = []

    def guarded(self, value: Tensor) -> Tensor:
        """A copy of value between two guards: of NaN, of 255 around bytes."""
        size = value.numel()
        filler = NAN if value.is_floating_point() else 255
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
                intact = guard.isnan() if guard.is_floating_point() else guard == 255
                assert intact.all(), f"a store {where} a buffer"


@pytest.fixture
def buffers() -> Buffers:
    return Buffers()


@pytest.fixture
def check() -> Callable[[Tensor, Tensor, Tensor], None]:
    """check(actual, eager, exact): the tolerance rule, element sets of NaN included."""
    from r2n_kernels.proof.tolerance import judge

    def verify(actual: Tensor, eager: Tensor, exact: Tensor) -> None:
        assert not actual.isnan().any(), "an element was never written, or a guard was read"
        verdict = judge("kernel", actual.cpu(), [eager.cpu()], exact.cpu())
        assert verdict.passed, verdict

    return verify


class Trial(BoundStep):
    """A step bound to random tensors on the CPU, what it only writes full of NaN."""

    def copied(self, copy: Callable[[Tensor], Tensor]) -> Trial:
        """With copies of the tensors; one that appears twice stays one."""
        copies = {id(t): copy(t) for t in self.tensors.values() if t is not None}
        tensors = {k: t if t is None else copies[id(t)] for k, t in self.tensors.items()}
        return Trial(self.step, tensors)

    @property
    def read(self) -> dict[str, Tensor]:
        return {name: self.tensors[name] for name in all_ops()[self.step.op].reads}

    @property
    def written(self) -> dict[str, Tensor]:
        return {name: self.tensors[name] for name in all_ops()[self.step.op].writes}

    @property
    def kept(self) -> dict[str, Tensor]:
        """What the step must leave as it is."""
        changed = [id(t) for t in self.written.values()]
        given = {k: t for k, t in self.tensors.items() if t is not None}
        return {k: t for k, t in given.items() if id(t) not in changed}

    def layout(self, *, written: bool) -> PlanesLayout:
        """Of the planes that the step reads or writes."""
        options = self.step.options
        return (written and options.get("out_layout")) or options["layout"]

    def images(self, tensor: Tensor, batch: int, *, written: bool) -> list[Tensor]:
        """Views [batch, ...] of everything in a tensor but gaps."""
        if tensor.ndim != 3:
            return [tensor.view(batch, -1, tensor.shape[-1]) if tensor.ndim == 2 else tensor]
        return [twins.images_of(plane, self.layout(written=written)) for plane in tensor]


class Steps:
    """A plan with random weights, whose steps can be tried one at a time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        first = {(s.op, s.convs, s.launches, str(s.options)): s for s in reversed(plan.steps)}
        self.distinct = [step for step in plan.steps if step in list(first.values())]
        self._weights = _weights(plan.config, plan.dtype)

    def trial(self, step: Step, seed: int = 0) -> Trial:
        plan = self.plan
        generator = torch.Generator().manual_seed(seed)
        buffers = allocate(plan, torch.device("cpu"))
        buffers["input"] = torch.empty(plan.buffers["input"].shape, dtype=plan.dtype)
        trial = Trial(step, bind(step, buffers, self._weights).tensors)
        for tensor in trial.written.values():
            for images in trial.images(tensor, plan.batch, written=True):
                images.fill_(NAN)
        for tensor in trial.read.values():  # after the others: some are updated in place
            for images in trial.images(tensor, plan.batch, written=False):
                drawn = torch.randn(images.shape, generator=generator)
                images.copy_(drawn if step.op == "prepare" else drawn.relu())
        return trial

    def trials(self, *ops: str) -> Iterator[Trial]:
        """Of every distinct step, or of those of some ops."""
        for step in self.distinct:
            if not ops or step.op in ops:
                yield self.trial(step)


@cache
def _weights(config: Res2NetConfig, dtype: torch.dtype) -> dict[str, PackedConv]:
    state = reference.randomize(reference.Res2Net(config)).state_dict()
    return pack_network(config, fold(config, state, torch.float32), state, dtype)


@pytest.fixture(scope="session")
def steps() -> Callable[..., Steps]:
    """steps(config, batch, height, width, dtype, **options of build_plan)."""

    @cache
    def make(config, batch, height, width, dtype, target=INTERPRETER, **options) -> Steps:
        if not interpreted():  # its own limits decide which tiles fit
            target = kernel_target(torch.device("cuda", 0))
        plan = build_plan(
            config, batch, height, width, dtype, "triton", target=target, **options
        )  # fmt: skip
        return Steps(plan)

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
        ours, eager = trial.copied(buffers.guarded), trial.copied(torch.clone)
        exact = trial.copied(Tensor.double)
        launch(ours.calls())
        eager.run_twin()
        exact.run_twin()
        buffers.assert_guards()
        for name, tensor in ours.kept.items():
            assert same_bits(tensor, trial.tensors[name]), f"wrote into its input {name}"
        for name, result in ours.written.items():
            if result.ndim == 3:
                gaps = torch.ones_like(result, dtype=torch.bool)
                for plane in gaps:
                    twins.images_of(plane, trial.layout(written=True)).fill_(False)
                assert (result[gaps] == 0).all(), f"wrote into the gaps of {name}"
            actual, expected = result.cpu(), exact.tensors[name]
            there = ~expected.isnan()
            assert actual[~there].isnan().all(), f"wrote into another step's part of {name}"
            check(actual[there], eager.tensors[name][there], expected[there])

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
