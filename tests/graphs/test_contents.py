"""What a graph holds, and what is refused while it is recorded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels import ConfigError, InputError
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.reference import Res2Net

from .conftest import (
    QUICK,
    TRACED,
    as_bytes,
    build,
    compiler,
    exported,
    images,
)


@compiler
def test_the_graph_is_the_folded_network(network):
    """No BatchNorm, no writes into views, no grad modes, one convolution for each."""
    program = torch.export.export(build(network, "logits"), (images(*TRACED),))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert called.count("aten.conv2d.default") == convolutions
    assert not [name for name in called if "norm" in name or "copy_" in name or "wrap_" in name]


@compiler
def test_outputs_of_a_graph_have_no_gradient(network):
    torch.compiler.reset()
    program = torch.compile(build(network, "logits"), fullgraph=True, backend="aot_eager")
    x = images(*TRACED).requires_grad_()
    assert not program(x).requires_grad


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
