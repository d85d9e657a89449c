"""A graph gives the network's numbers, at other sizes and batches than it was traced at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import r2n_kernels
from r2n_kernels.config import VARIANTS
from r2n_kernels.proof.tolerance import judge, oracle_dtype
from r2n_kernels.reference import Res2Net

from .conftest import (
    CFG,
    KINDS,
    QUICK,
    SMALL,
    TRACED,
    Outputs,
    Program,
    as_bytes,
    build,
    compiler,
    dynamic,
    exported,
    images,
)

OTHERS = [(1, 40, 40), (5, 40, 40), (3, 33, 47)]


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(CFG[key], dtype=torch.float64) for key in ("mean", "std"))
    return ((x.double() / 255 - mean) / std).permute(0, 3, 1, 2)


def as_list(outputs: Tensor | list[Tensor] | tuple[Tensor, ...]) -> Outputs:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


@torch.no_grad()
def assert_right(
    program: Program, network: Res2Net, kind: str, dtype: torch.dtype, make: Callable[..., Tensor],
    sizes: list[tuple[int, int, int]],
) -> None:  # fmt: skip
    """By the rule of `tolerance`: the reference, in `dtype`, and in a wider one as the truth."""
    expected, wide = KINDS[kind][1], oracle_dtype(dtype)
    networks = {d: Res2Net(SMALL).to(d).eval() for d in (dtype, wide)}
    for own in networks.values():
        own.load_state_dict(network.state_dict())
    for size in sizes:
        x = make(*size)
        if x.dtype == torch.uint8:
            floats = normalised(x).to(dtype)
        else:
            x = floats = x.to(dtype)
        eager = [
            expected(networks[dtype], floats.to(memory_format=layout))
            for layout in (torch.contiguous_format, torch.channels_last)
        ]
        oracle = expected(networks[wide], floats.to(wide))
        actual = as_list(program(x))
        assert len(actual) == len(oracle)
        for i, (output, truth) in enumerate(zip(actual, oracle, strict=True)):
            assert output.dtype == dtype
            verdict = judge(f"{size} {i}", output, [run[i] for run in eager], truth, network=True)
            assert verdict.passed, verdict


def inductor(model: nn.Module, x: Tensor, path: Path) -> Program:
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, dynamic=True)


def packaged(model: nn.Module, x: Tensor, path: Path) -> Program:
    """For every batch of one size, as the page says; every size too takes a minute."""
    return package(model, x, path, ({0: torch.export.Dim.DYNAMIC},))


def packaged_for_sizes(model: nn.Module, x: Tensor, path: Path) -> Program:
    return package(model, x, path, dynamic(x))


def package(model: nn.Module, x: Tensor, path: Path, shapes: tuple[dict[int, Any]]) -> Program:
    program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    name = str(path / "model.pt2")
    return torch._inductor.aoti_load_package(
        torch._inductor.aoti_compile_and_package(program, package_path=name)
    )


def onnx(model: nn.Module, x: Tensor, path: Path) -> Program:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    name = str(path / "model.onnx")
    torch.onnx.export(
        model, (x,), name, dynamo=True, dynamic_shapes=dynamic(x), verbose=False
    )  # fmt: skip
    session = runtime.InferenceSession(name, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {source.name: x.numpy()})]


SLOW = {
    "inductor": inductor, "aot_inductor": packaged, "aot_inductor_sizes": packaged_for_sizes,
    "onnx": onnx,
}  # fmt: skip
TESTED = {inductor: OTHERS[2:], packaged: OTHERS[:2]}  # on other sizes than all


CASES = [
    (kind, dtype, make)
    for kind in KINDS
    for dtype in (torch.float32, torch.bfloat16)
    for make in (images, as_bytes)
]
FEW = [("logits", torch.float32, as_bytes), ("features", torch.bfloat16, images)]
# each two of what is asked for, a dtype and a kind of images meet in one of these; the rest, weekly
PAIRS = [
    *FEW,
    ("logits", torch.bfloat16, images),
    ("features", torch.float32, as_bytes),
    ("embedding", torch.float32, images),
    ("embedding", torch.bfloat16, as_bytes),
]
BY_DEFAULT = {"export": FEW[:1], "strict": FEW[1:], "trace": FEW, "compile": FEW[1:]}
# of each of FEW, the other generates like code
WEEKLY = {inductor: FEW[:1], packaged: FEW[1:], packaged_for_sizes: FEW}


def marks(name: str, case: tuple) -> list[pytest.MarkDecorator]:
    if case in BY_DEFAULT.get(name, ()):
        return []
    often = case in PAIRS and case not in WEEKLY.get(SLOW.get(name), ())
    return [pytest.mark.slow if often else pytest.mark.weekly]


@compiler
@pytest.mark.parametrize(
    ("through", "kind", "dtype", "make"),
    [
        pytest.param(
            through,
            *case,
            id=f"{name}-{case[0]}-{case[1]}-{case[2].__name__}",
            marks=marks(name, case),
        )
        for name, through in (QUICK | SLOW).items()
        for case in (FEW if through in WEEKLY else CASES)
    ],
)
def test_a_graph_gives_the_networks_numbers(through, kind, dtype, make, network, tmp_path):
    """At other sizes and batches than the one that was traced."""
    if through is onnx and dtype == torch.bfloat16:
        pytest.skip("ONNX Runtime has no bfloat16 convolution on the CPU")
    x = make(*TRACED)
    x = x if x.dtype == torch.uint8 else x.to(dtype)
    program = through(build(network, kind, dtype), x, tmp_path)
    # each size that Inductor takes for a special one, as 1 is, compiles for a minute
    assert_right(program, network, kind, dtype, make, TESTED.get(through, OTHERS))


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("through", QUICK.values(), ids=QUICK)
@pytest.mark.parametrize("config", [
    SMALL.replace(scale=1),
    SMALL.replace(scale=2, base_width=48),
    SMALL.replace(scale=8, deep_stem=True, stem_width=6, avg_down=True),
    SMALL.replace(cardinality=3, base_width=20, in_chans=1),
    SMALL.replace(planes=(16, 14), in_chans=5),
], ids=["scale1", "scale2", "scale8-d", "grouped", "no-project"])  # fmt: skip
def test_any_configuration(config, through, randomize, rel_error, tmp_path):
    reference = randomize(Res2Net(config)).eval()
    program = through(
        r2n_kernels.from_timm(reference), torch.randn(2, config.in_chans, 40, 40), tmp_path
    )
    x = torch.randn(3, config.in_chans, 33, 47)
    with torch.no_grad():
        assert rel_error(program(x), reference(x)) <= 1e-5


@compiler
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("res2net50d", marks=pytest.mark.slow),
        pytest.param("res2net101_26w_4s", marks=pytest.mark.weekly),
    ],
)
def test_real_variants(name, randomize, rel_error, tmp_path):
    """A block of each stage: recorders take the time of each that they see."""
    reference = randomize(Res2Net(VARIANTS[name].replace(layers=(1, 2, 1, 1)))).eval()
    model = r2n_kernels.from_timm(reference)
    x, other = images(2, 64, 64), images(3, 160, 96)
    with torch.no_grad():
        expected = reference(other)
    for through in (exported, onnx):
        (actual,) = as_list(through(model, x, tmp_path)(other))
        assert rel_error(actual, expected) <= 1e-5


@compiler
@pytest.mark.slow
def test_one_graph_serves_every_batch(network):
    model, seen = build(network, "logits"), []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Program:
        seen.append(graph)
        return graph.forward

    torch.compiler.reset()
    program = torch.compile(model, fullgraph=True, dynamic=True, backend=count)
    for batch in (2, 3, 8):
        x = images(batch, 40, 40)
        torch.testing.assert_close(program(x), model(x).detach(), rtol=1e-5, atol=1e-5)
    assert len(seen) == 1


@compiler
def test_an_exported_program_takes_an_empty_batch(network, tmp_path):
    model = build(network, "logits")
    assert exported(model, images(*TRACED), tmp_path)(images(0, 40, 40)).shape == (0, 7)


@compiler
def test_nan_spreads_in_a_graph_as_in_eager(network, tmp_path):
    x = images(*TRACED)
    x[1, 0, 20, 20] = float("nan")
    logits = exported(build(network, "logits"), x, tmp_path)(x)
    assert logits.isnan().any(dim=1).tolist() == [False, True]


@compiler
def test_autocast_does_not_reach_into_a_graph(network):
    model = build(network, "logits")
    x = images(*TRACED)
    expected = model(x).detach()
    torch.compiler.reset()
    program = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = program(x)
        within = torch.export.export(model, (x,)).module()(x)
    for value in (actual, within):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-5)
