"""How often weights are held, and when they are packed; nothing asks what oneDNN's layouts are."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import r2n_kernels
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine import packed_shapes
from r2n_kernels.engine.packed_shapes import MANY_NEW, MAX_SHAPES, held_bytes
from r2n_kernels.engine.torch_backend import TorchBackend
from r2n_kernels.fold.torch_layout import OneDnnConv, onednn_has
from r2n_kernels.reference import Res2Net

pytestmark = pytest.mark.skipif(not onednn_has(torch.float32), reason="torch has no oneDNN")
SMALL = Res2NetConfig(layers=(1, 2, 1), planes=(9, 14, 33), num_classes=7)
DTYPES = [torch.float32] + [torch.bfloat16] * onednn_has(torch.bfloat16)


@pytest.fixture(scope="module")
def state(randomize):
    return randomize(Res2Net(SMALL)).eval().state_dict()


@pytest.fixture
def packs(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the inputs that a convolution was packed, or looked for, for."""
    found: list[tuple[int, ...]] = []
    pack = OneDnnConv.packed_for

    def spy(self, shape, twins, known):
        found.append(tuple(shape))
        return pack(self, shape, twins, known)

    monkeypatch.setattr(OneDnnConv, "packed_for", spy)
    return found


class Runs:
    """A backend, and which of its weights are held."""

    def __init__(self, state, dtype: torch.dtype = torch.float32) -> None:
        self.backend = TorchBackend(SMALL, state, dtype, torch.device("cpu"))
        self.copy = held_bytes(self.backend.network)
        self.plain = [weakref.ref(weight) for weight in self.backend.network.weights()]

    def __call__(self, *shapes: tuple[int, int, int]) -> None:
        for batch, height, width in shapes:
            plan = self.backend.plan(batch, height, width)
            self.backend.run(plan, torch.randn(batch, 3, height, width), ["logits"])

    @property
    def networks(self):
        shapes = self.backend.shapes
        return [shapes.latest, *shapes._shapes.values()]

    @property
    def copies(self) -> float:
        gc.collect()
        return held_bytes(*self.networks) / self.copy

    @property
    def is_packed(self) -> bool:
        kinds = {weight.is_mkldnn for network in self.networks for weight in network.weights()}
        assert len(kinds) == 1
        return kinds.pop()

    def plain_is_gone(self) -> bool:
        gc.collect()
        return all(weight() is None for weight in self.plain)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 64, 64), (8, 33, 40)], ids=str)
def test_a_shape_that_comes_back_leaves_one_copy(shape, dtype, state, packs):
    run = Runs(state, dtype)
    assert (run.is_packed, run.copies) == (False, 1)
    run((1, 48, 40))  # once
    assert (run.is_packed, run.copies) == (False, 1)
    run(shape, shape, shape)
    assert (run.is_packed, run.copies) == (True, 1)
    assert run.plain_is_gone()
    before = len(packs)
    run(shape, shape)
    assert len(packs) == before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_two_shapes_in_turns_are_packed_once_and_share_what_is_alike(dtype, state, packs):
    run, one, two = Runs(state, dtype), (1, 64, 64), (3, 33, 40)
    run(one, one, two, one, two)
    seen = len(packs)
    run(*(one, two) * 4)
    assert len(packs) == seen, "packed again"
    assert run.is_packed
    assert 1 <= run.copies <= 2
    first, second = run.backend.shapes._shapes.values()
    for name, convs in first.convs.items():
        for a, b in zip(convs, second.convs[name], strict=True):
            assert (a.layout == b.layout) is (a.weight is b.weight)
    assert run.plain_is_gone()


def test_a_last_smaller_batch_does_not_unpack_the_others(state, packs):
    run, even, rest = Runs(state), (8, 32, 32), (3, 32, 32)
    for _ in range(3):
        run(even, even, even, rest)
    before = len(packs)
    run(even, rest, even, rest)
    assert len(packs) == before


def test_shapes_that_are_all_new_run_on_plain_weights(state, packs):
    run = Runs(state)
    run(*((1, 32, 32 + 8 * i) for i in range(6)))
    assert (run.is_packed, run.copies) == (False, 1)
    assert not packs
    run(*[(1, 40, 40)] * (MANY_NEW + 2))
    assert (run.is_packed, run.copies) == (True, 1)
    run(*((1, 32, 104 + 8 * i) for i in range(MANY_NEW)))  # the last is one too many
    assert (run.is_packed, run.copies) == (False, 1)
    before = len(packs)
    run(*((1, 32, 160 + 8 * i) for i in range(4)))
    assert len(packs) == before
    run(*[(1, 40, 40)] * (MANY_NEW + 2))
    assert (run.is_packed, run.copies) == (True, 1)


def test_weights_survive_all_changes_of_layout_bit_for_bit(state):
    run = Runs(state)
    before = {
        (name, i): conv.weight.clone()
        for name, convs in run.backend.network.convs.items()
        for i, conv in enumerate(convs)
    }
    one, two = (1, 64, 64), (5, 40, 33)
    for shapes in ([one], [one], [two, two], [(1, 32, 40 + 8 * i) for i in range(MANY_NEW)]):
        run(*shapes)
        for network in run.networks:
            for name, i in before:
                weight = network.convs[name][i].weight
                dense = weight.to_dense() if weight.is_mkldnn else weight
                assert torch.equal(dense, before[name, i])
    assert not run.is_packed


def test_few_shapes_and_few_copies_are_kept(state, monkeypatch):
    run = Runs(state)
    for i in range(MAX_SHAPES + 3):
        run(*[(1, 32, 32 + 8 * i)] * 2)
        assert len(run.backend.shapes._shapes) <= MAX_SHAPES
        assert run.copies <= 2
    monkeypatch.setattr(packed_shapes, "MAX_COPIES", 1)
    run((1, 64, 64), (1, 64, 64))
    assert run.copies == 1
    assert [*run.backend.shapes._shapes][-1][1:3] == (64, 64)


def test_weights_packed_for_one_number_of_threads_do_not_serve_another(state):
    """Three images go through at once on two threads; six as two streams of three on one each."""
    run, before = Runs(state), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(*[(3, 32, 32)] * 2, *[(6, 32, 32)] * 2)
    finally:
        torch.set_num_threads(before)
    assert sorted(run.backend.shapes._shapes) == [(3, 32, 32, 1), (3, 32, 32, 2)]
    assert run.is_packed


@pytest.mark.parametrize("inference", [False, True])
def test_graphs_get_plain_weights_that_all_of_them_share(inference, randomize):
    model = r2n_kernels.from_timm(randomize(Res2Net(SMALL)).eval(), backend="torch")
    x = torch.randn(1, 3, 40, 33)
    with torch.inference_mode(inference):
        expected = [model(x) for _ in range(3)][-1]
    with torch.no_grad():
        assert torch.allclose(torch.compile(model, backend="eager")(x), expected, atol=1e-4)
        backend = model._packed.backend
        plain = backend.plain
        torch.testing.assert_close(torch.jit.trace(model, x)(x), expected, rtol=1e-4, atol=1e-4)
        exported = torch.export.export(model, (x,), strict=False).module()
        torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-4)
    assert backend.plain is plain
    assert all(not (w.is_mkldnn or w.is_inference()) for w in plain.weights())
    assert all(weight.is_mkldnn for weight in backend.network.weights())
