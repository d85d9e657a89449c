"""A model as one graph: torch.export, ONNX, torch.jit.trace, torch.compile, AOTInductor."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import r2n_kernels
from r2n_kernels import ConfigError, InputError
from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.export import drop_unused
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.model import Res2NetModel
from r2n_kernels.proof.tolerance import judge, oracle_dtype
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
CFG = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
ANY = torch.export.Dim.DYNAMIC
TRACED = (2, 40, 40)  # images, height, width
OTHERS = [(1, 40, 40), (5, 40, 40), (3, 33, 47)]

Outputs = list[Tensor]
Program = Callable[[Tensor], Any]


@pytest.fixture(scope="module")
def network(randomize) -> Res2Net:
    network = randomize(Res2Net(SMALL)).eval()
    network.pretrained_cfg = CFG
    return network


def images(n: int, height: int, width: int) -> Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(n))


def as_bytes(n: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(CFG[key], dtype=torch.float64) for key in ("mean", "std"))
    return ((x.double() / 255 - mean) / std).permute(0, 3, 1, 2)


# How a model is asked for -> the arguments of from_timm, and what the reference says
KINDS: dict[str, tuple[dict[str, Any], Callable[[Res2Net, Tensor], Outputs]]] = {
    "logits": ({}, lambda network, x: [network(x)]),
    "features": (
        {"features_only": True, "out_indices": (0, 2)},
        lambda network, x: network.feature_maps(x)[::2],
    ),
    "embedding": ({}, lambda network, x: [network.forward_features(x).mean((2, 3))]),
}


def build(network: Res2Net, kind: str, dtype: torch.dtype = torch.float32) -> Res2NetModel:
    model = r2n_kernels.from_timm(network, dtype=dtype, **KINDS[kind][0])
    if kind == "embedding":
        model.reset_classifier(0)
    return model


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


def dynamic(x: Tensor) -> tuple[dict[int, Any]]:
    """Batch, height and width of floats or bytes."""
    return ({0: ANY, 1: ANY, 2: ANY} if x.dtype == torch.uint8 else {0: ANY, 2: ANY, 3: ANY},)


def exported(model: nn.Module, x: Tensor, path: Path) -> Program:
    return torch.export.export(model, (x,), dynamic_shapes=dynamic(x)).module()


def strictly_exported(model: nn.Module, x: Tensor, path: Path) -> Program:
    return torch.export.export(model, (x,), dynamic_shapes=dynamic(x), strict=True).module()


def traced(model: nn.Module, x: Tensor, path: Path) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        # a list of maps as timm's, of which torch.jit.trace wants to be told
        strict = not model.features_only
        # half precision rounds elsewhere in the model's other convolutions: the rule judges it
        exact = model.dtype == torch.float32
        program = torch.jit.trace(model, x, strict=strict, check_trace=exact)
        program.save(path / "model.pt")
    return torch.jit.load(path / "model.pt")


def compiled(model: nn.Module, x: Tensor, path: Path) -> Program:
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, backend="eager")


def inductor(model: nn.Module, x: Tensor, path: Path) -> Program:
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, dynamic=True)


def packaged(model: nn.Module, x: Tensor, path: Path) -> Program:
    program = torch.export.export(model, (x,), dynamic_shapes=dynamic(x))
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


QUICK = {"export": exported, "strict": strictly_exported, "trace": traced, "compile": compiled}
SLOW = {"inductor": inductor, "aot_inductor": packaged, "onnx": onnx}
compiler = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


CASES = [
    (kind, dtype, make)
    for kind in KINDS
    for dtype in (torch.float32, torch.bfloat16)
    for make in (images, as_bytes)
]
FEW = [("logits", torch.float32, as_bytes), ("features", torch.bfloat16, images)]


@compiler
@pytest.mark.parametrize(
    ("through", "kind", "dtype", "make"),
    [
        pytest.param(
            through,
            *case,
            id=f"{name}-{case[0]}-{case[1]}-{case[2].__name__}",
            marks=() if name in QUICK and case in FEW else pytest.mark.slow,
        )
        for name, through in (QUICK | SLOW).items()
        for case in (FEW if through in (inductor, packaged) else CASES)
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
    assert_right(program, network, kind, dtype, make, OTHERS[2:] if through is inductor else OTHERS)


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
def test_the_graph_is_the_folded_network(network):
    """No BatchNorm, no writes into views, no grad modes, one convolution for each."""
    program = torch.export.export(build(network, "logits"), (images(*TRACED),))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert called.count("aten.conv2d.default") == convolutions
    assert not [name for name in called if "norm" in name or "copy_" in name or "wrap_" in name]


@compiler
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


class Heavy(nn.Module):
    """A model that owns a megabyte more than its graph reads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.unread, self.model = nn.Linear(1024, 256), model
        self.register_buffer("kept", torch.ones(7))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * self.kept


@compiler
def test_what_the_graph_does_not_read_can_be_left_out_of_the_file(network, tmp_path):
    model, x = build(network, "logits"), images(*TRACED)
    program = torch.export.export(Heavy(model), (x,), dynamic_shapes=(dynamic(x)[0],))
    torch.export.save(program, tmp_path / "whole.pt2")
    assert "unread.weight" in program.state_dict
    drop_unused(program)
    torch.export.save(program, tmp_path / "lean.pt2")
    whole, lean = ((tmp_path / f"{name}.pt2").stat().st_size for name in ("whole", "lean"))
    assert whole - lean > 1024 * 256 * 4
    loaded = torch.export.load(tmp_path / "lean.pt2")
    assert sorted(loaded.state_dict) == ["kept", "model.fc.bias", "model.fc.weight"]
    other = images(3, 33, 47)
    for left in (program, loaded, loaded.run_decompositions()):
        torch.testing.assert_close(left.module()(other), model(other).detach())


@compiler
def test_an_exported_program_takes_an_empty_batch(network, tmp_path):
    model = build(network, "logits")
    assert exported(model, images(*TRACED), tmp_path)(images(0, 40, 40)).shape == (0, 7)


@compiler
def test_outputs_of_a_graph_have_no_gradient(network):
    torch.compiler.reset()
    program = torch.compile(build(network, "logits"), fullgraph=True, backend="aot_eager")
    x = images(*TRACED).requires_grad_()
    assert not program(x).requires_grad


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


@compiler
def test_nan_spreads_in_a_graph_as_in_eager(network, tmp_path):
    x = images(*TRACED)
    x[1, 0, 20, 20] = float("nan")
    logits = exported(build(network, "logits"), x, tmp_path)(x)
    assert logits.isnan().any(dim=1).tolist() == [False, True]


@compiler
def test_tracing_leaves_the_model_as_it_was(network, tmp_path):
    model, x = build(network, "logits"), as_bytes(*TRACED)
    expected = build(network, "logits")(x).detach()
    for through in QUICK.values():
        through(model, x, tmp_path)(x)
        assert torch.equal(model(x).detach(), expected)


@compiler
def test_checks_of_values_leave_the_graph(network, tmp_path):
    model = r2n_kernels.from_timm(network, check_finite=True)
    x = images(*TRACED)
    program = exported(model, x, tmp_path)
    x[0] = float("nan")
    assert program(x)[0].isnan().all()
    with pytest.raises(InputError, match="NaN or Inf"):
        model(x)


@compiler
def test_wrong_inputs_are_named_while_tracing(network):
    model = build(network, "logits")
    for record in (torch.jit.trace, lambda model, x: torch.export.export(model, (x,))):
        with pytest.raises(InputError, match="at least 32x32, got 31x40"):
            record(model, images(1, 31, 40))
        with pytest.raises(InputError, match=r"expected a tensor of shape \[N, 3, H, W\]"):
            record(model, torch.zeros(1, 4, 40, 40))


@compiler
@pytest.mark.parametrize("wrap", [lambda model: model, nn.Sequential], ids=["model", "wrapped"])
def test_torchscript_says_what_to_use(wrap, network):
    with pytest.raises(ConfigError, match=r"cannot read Res2NetModel; .*torch\.export\.export"):
        torch.jit.script(wrap(build(network, "logits")))


@compiler
@pytest.mark.skipif(not interpreted(), reason="there is a GPU: its kernels are not run here")
def test_a_backend_with_kernels_of_its_own_says_what_to_use(randomize):
    config = Res2NetConfig(layers=(1,), planes=(9,), num_classes=3)
    model = r2n_kernels.from_timm(randomize(Res2Net(config)).eval(), backend="triton")
    x = images(1, 32, 32)
    for record in (torch.jit.trace, lambda model, x: torch.export.export(model, (x,))):
        with pytest.raises(ConfigError, match="backend='torch'"):
            record(model, x)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="backend='torch'"):
        torch.compile(model, fullgraph=True, backend="eager")(x)
    in_pieces = torch.compile(model, backend="eager")
    assert torch.equal(in_pieces(x).detach(), model(x).detach())


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["res2net50d", "res2net101_26w_4s"])
def test_real_variants(name, randomize, rel_error, tmp_path):
    reference = randomize(Res2Net(VARIANTS[name])).eval()
    model = r2n_kernels.from_timm(reference)
    x, other = images(2, 64, 64), images(3, 160, 96)
    with torch.no_grad():
        expected = reference(other)
    for through in (exported, onnx):
        (actual,) = as_list(through(model, x, tmp_path)(other))
        assert rel_error(actual, expected) <= 1e-5


@compiler
def test_compiling_takes_the_weights_of_that_time(network, tmp_path):
    model, peer = build(network, "logits"), copy.deepcopy(network)
    x = images(*TRACED)
    for change in (
        lambda m: m.layer1[0].conv1.weight.mul_(0.5),
        lambda m: m.fc.weight.neg_(),
        lambda m: setattr(m, "act1", nn.Tanh()),
    ):
        with torch.no_grad():
            change(model)
            change(peer)
            torch.testing.assert_close(
                compiled(model, x, tmp_path)(x), peer(x), rtol=1e-4, atol=1e-4
            )


@compiler
def test_a_compiled_model_sees_what_is_loaded_and_what_an_eager_call_saw(network, randomize):
    model = build(network, "logits")
    whole = nn.Sequential(model)
    torch.compiler.reset()
    fast = torch.compile(whole, fullgraph=True, backend="eager")
    x = images(*TRACED)
    with torch.no_grad():
        fast(x)
        other = randomize(Res2Net(SMALL), seed=7).eval()
        whole.load_state_dict({f"0.{k}": v for k, v in other.state_dict().items()})
        torch.testing.assert_close(fast(x), other(x), rtol=1e-4, atol=1e-4)
        another = randomize(Res2Net(SMALL), seed=8).eval()
        model.load_state_dict(another.state_dict())
        torch.testing.assert_close(fast(x), another(x), rtol=1e-4, atol=1e-4)
        for each in (model, another):
            each.layer2[0].conv3.weight.mul_(3)
        model(x)
        torch.testing.assert_close(fast(x), another(x), rtol=1e-4, atol=1e-4)


CHANGES = {
    "in place": lambda m: m.bn1.weight.mul_(2),
    "module": lambda m: setattr(m, "act1", nn.Tanh()),
    "eps": lambda m: setattr(m.layer1[0].bn1, "eps", 9.0),
}


@compiler
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_torch_export_refuses_weights_that_are_not_packed(change, network, tmp_path, rel_error):
    """Its parameters are stand-ins while it runs: nothing can be folded from them."""
    model, x = build(network, "logits"), images(*TRACED)
    with torch.no_grad():
        change(model)
        with pytest.raises(ConfigError, match="not packed: run the model once, then trace it"):
            exported(model, x, tmp_path)
        wanted = model(x)
        assert rel_error(exported(model, x, tmp_path)(x), wanted) < 1e-5


@compiler
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_torch_jit_trace_takes_the_weights_of_that_time(change, network, tmp_path, rel_error):
    model, x = build(network, "logits"), images(*TRACED)
    with torch.no_grad():
        before = model(x)
        change(model)
        actual = traced(model, x, tmp_path)(x)
        assert rel_error(actual, model(x)) < 1e-5
        assert rel_error(actual, before) > 1e-2
