"""The kernels as PyTorch operators: opcheck, launchers' results, torch.compile, refusals."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.triton_ops import BoundStep
from r2n_kernels.kernels import ops  # noqa: F401  registers them
from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.layout import PlanesLayout
from r2n_kernels.kernels.op import all_ops
from r2n_kernels.kernels.targets import INTERPRETER
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.steps import cases

DEVICE = torch.device("cpu" if interpreted() else "cuda")
# a deep stem and average-pooled shortcuts: every op there is
TINY = Res2NetConfig(
    (2, 1), planes=(4, 8), base_width=40, scale=3, stem_width=4, deep_stem=True, avg_down=True,
    num_classes=5,
)  # fmt: skip
OPS = [name for name, op in all_ops().items() if not op.gluon]  # test_resident.py has the others
TESTS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_dynamic",
)


@cache
def arguments(op: str, batch: int = 2, dtype: torch.dtype | None = None, index: int = 0):
    """Return tensors and options of a network's index-th step of that op, outputs NaN or zero."""
    dtype = dtype or (torch.float16 if op == "conv_pool" else torch.float32)
    size = (62, 121) if op == "conv_pool" else (32, 33)  # a map that its tiles cover well
    plan = build_plan(TINY, batch, *size, dtype, "triton", target=INTERPRETER)
    case = list(cases(plan, DEVICE, only=lambda step: step.op == op))[index]
    step = case.step
    for name, buffer in case.buffers.items():
        if name in step.reads:
            buffer.relu_()
        elif not plan.buffers[name].planes:
            buffer.fill_(float("nan"))
    tensors = dict(case.bound.tensors)
    if op == "conv3":  # a network adds in place
        tensors["out"] = torch.full_like(tensors["x"], float("nan"))
    tensors = {name: tensors.get(name) for name in order(op)}
    options = {
        key: list(dataclasses.astuple(value)) if dataclasses.is_dataclass(value) else value
        for key, value in step.options.items()
    }
    return step, tensors, options


def order(op: str) -> list[str]:
    return [a.name for a in overload(op)._schema.arguments if not a.kwarg_only]


def overload(op: str):
    return getattr(torch.ops.r2n_kernels, op).default


def fresh(op: str, **kwargs):
    step, tensors, options = arguments(op, **kwargs)
    return step, {k: None if t is None else t.clone() for k, t in tensors.items()}, dict(options)


def test_schemas_say_what_is_written():
    assert str(overload("stage")._schema) == (
        "r2n_kernels::stage(Tensor(a0!) planes, Tensor w, Tensor b, Tensor(a1!) y, *, "
        "SymInt[] layout, SymInt[] tile, bool chained) -> ()"
    )


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("op", OPS)
def test_opcheck(op, batch):
    _, tensors, options = fresh(op, batch=batch)
    results = torch.library.opcheck(
        overload(op), tuple(tensors.values()), options, test_utils=TESTS
    )
    assert results == dict.fromkeys(TESTS, "SUCCESS")


@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        pytest.param(op, dtype, marks=[] if dtype == torch.float16 else pytest.mark.slow)
        for op in OPS
        for dtype in (torch.float16, torch.bfloat16, torch.float32)
        if (op, dtype) != ("conv_pool", torch.float32)  # no network runs it so
    ],
    ids=str,
)
def test_an_op_gives_its_launchers_bits(op, dtype):
    step, tensors, options = fresh(op, dtype=dtype)
    _, expected, _ = fresh(op, dtype=dtype)
    launch(BoundStep(step, all_ops()[op], expected).calls())
    overload(op)(*tensors.values(), **options)
    for name in tensors:
        if tensors[name] is not None:
            assert torch.equal(tensors[name].nan_to_num(7e4), expected[name].nan_to_num(7e4)), name
    for name in all_ops()[op].writes:
        assert not torch.equal(tensors[name], arguments(op, dtype=dtype)[1][name]), "not written"


def test_bytes_are_normalised():
    _, tensors, options = fresh("prepare")
    x = torch.randint(0, 256, (2, 32, 33, 3), dtype=torch.uint8, device=DEVICE).permute(0, 3, 1, 2)
    scale, shift = torch.full((3,), 0.5, device=DEVICE), torch.ones(3, device=DEVICE)
    overload("prepare")(x, scale, shift, tensors["image"], **options)
    layout = PlanesLayout(*options["layout"])
    row = layout.row(1, 31, 32)
    assert torch.equal(tensors["image"][0, row, :3], x[1, :, 31, 32] * 0.5 + 1)


def test_an_empty_batch_launches_nothing():
    x = torch.empty(0, 8, device=DEVICE)
    torch.ops.r2n_kernels.global_pool(x, x.clone())
    torch.ops.r2n_kernels.maxpool(x, x.clone(), H=4, W=4)


def chain(x, out, weights, layout, splits, tiles):
    """A hierarchical block of the ops, as a kernel researcher would write it."""
    r2n = torch.ops.r2n_kernels
    _, _, _, c, _, _ = layout
    planes = x.new_zeros(splits, PlanesLayout(*layout).rows, c)
    y = x.new_empty(x.shape[0], (splits + 1) * c)
    r2n.conv1(x, *weights[0], planes, y, layout=layout, tile=tiles[0])
    r2n.stage(planes, *weights[1], y, layout=layout, tile=tiles[1], chained=True)
    r2n.conv3(y, *weights[2], x, out, tile=tiles[2])
    return out * 2


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_ops_chain_under_torch_compile(backend):
    steps = [arguments(op, index=i) for op, i in (("conv1", 1), ("stage", 0), ("conv3", 0))]
    weights = [(tensors["w"], tensors["b"]) for _, tensors, _ in steps]
    layout, tiles = steps[1][2]["layout"], [options["tile"] for *_, options in steps]
    x, splits = steps[0][1]["x"], steps[1][1]["planes"].shape[0]
    out, compiled_out = torch.empty_like(x), torch.empty_like(x)
    expected = chain(x, out, weights, layout, splits, tiles)
    compiled = torch.compile(chain, fullgraph=True, backend=backend)
    actual = compiled(x, compiled_out, weights, layout, splits, tiles)
    assert torch.equal(actual, expected)
    assert torch.equal(compiled_out, out)  # the mutation reaches the caller
    assert out.abs().sum() > 0


LAYOUT, TILE = "layout", "tile"
REFUSED = [
    ("conv1", "x", lambda x: x[:-1], ValueError, r"conv1: x must have shape \[\d+, any\], got"),
    ("conv1", "x", lambda x: x.half(), TypeError, "w must be torch.float16, got torch.float32"),
    ("conv1", "x", lambda x: x.double(), TypeError, "conv1: x must be one of .*float64"),
    ("conv1", "b", lambda b: b.half(), TypeError, "b must be torch.float32, got torch.float16"),
    ("conv1", "w", lambda w: w[:8], ValueError, r"w must have shape \[>= \d+, >= \d+\], got \[8, "),
    ("conv1", "w", lambda w: w.t(), ValueError, "w must be contiguous, got strides"),
    ("conv1", "y", lambda y: y[:, :-8].contiguous(), ValueError, "y must have a group of 8"),
    ("conv1", LAYOUT, lambda v: v[:4], ValueError, r"layout must be \[N, H, W, C, block_k, R\], "),
    ("conv1", LAYOUT, lambda v: [*v[:5], 5], ValueError, "layout must have R = 3 .* got R 5"),
    ("conv1", LAYOUT, lambda v: [*v[:5], 2], ValueError, "must have N >= 0, an odd R"),
    ("conv1", TILE, lambda v: v[:2], ValueError, r"tile must be \[block_m, .*, got \[64, 32\]"),
    ("conv1", TILE, lambda v: [24, *v[1:]], ValueError, "block_m must be a power of two from 16"),
    ("stage", "planes", lambda p: p[:, 1:].contiguous(), ValueError, "planes must have shape"),
    ("stage", TILE, lambda v: [*v[:2], 64, *v[3:]], ValueError, "block_k must be the layout's"),
    ("stage", "y", lambda y: y[:, :8].contiguous(), ValueError, "y must have shape .*>= 16"),
    ("stage", "w", lambda w: w[:1], ValueError, r"w must have shape \[2, 3, >= \d+, >= \d+\], got"),
    ("first_stage", "stride", lambda _: 0, ValueError, "stride must be at least 1, got 0"),
    ("first_stage", "b", lambda b: b[:, :4].contiguous(), ValueError, "b must have shape"),
    ("conv", "out_layout", lambda v: [9, *v[1:]], ValueError, "out_layout must be of N, H, W"),
    ("conv3", "x", lambda x: x[:4], ValueError, "conv3: x must have shape"),
    ("conv3_project", "block_ks", lambda _: 24, ValueError, "block_ks must be a power of two"),
    ("conv3_project", "H", lambda _: 7, ValueError, "x must have a multiple of H"),
    ("conv3_project", "ws", lambda w: w[:8], ValueError, "ws must have shape"),
    ("maxpool", "out", lambda o: o[1:], ValueError, "maxpool: out must have shape"),
    ("avgpool", "W", lambda _: 0, ValueError, "W must be at least 1, got 0"),
    ("global_pool", "x", lambda x: x[1:], ValueError, "x has .* rows, not as many for each"),
    ("linear", "out", lambda o: o[:1], ValueError, "out must have shape"),
    ("prepare", "scale", lambda _: torch.ones(3, device=DEVICE), ValueError, "both, or neither"),
    ("prepare", "x", lambda x: x.double(), TypeError, "prepare: x must be one of .*uint8"),
    ("prepare", "image", lambda i: i.int(), TypeError, "image must be one of .*got torch.int32"),
    ("conv1", "x", lambda x: x.to("meta"), ValueError, "x is on meta; kernels run on a GPU"),
    ("conv1", "w", lambda w: w.to("meta"), ValueError, "x is on .*, but w on meta"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "name", "change", "error", "message"), REFUSED, ids=[f"{r[0]}-{r[1]}" for r in REFUSED]
)
def test_refused_when_run_and_when_traced(op, name, change, error, message):
    _, tensors, options = fresh(op, index=0)
    target = tensors if name in tensors else options
    target[name] = change(target[name])
    if "meta" not in message:  # a FakeTensorMode takes no meta tensors
        with torch._subclasses.FakeTensorMode() as mode:
            fakes = [None if t is None else mode.from_tensor(t) for t in tensors.values()]
            with pytest.raises(error, match=message):
                overload(op)(*fakes, **options)
    with pytest.raises(error, match=message):
        overload(op)(*tensors.values(), **options)


def test_written_memory_is_not_shared():
    _, tensors, options = fresh("conv3")
    tensors["out"] = tensors["x"]
    with pytest.raises(ValueError, match="conv3: out is written and shares memory with x"):
        overload("conv3")(*tensors.values(), **options)
