from __future__ import annotations

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.tracing import as_constants, at_trace_time, outside_graphs, tracing


def test_tracing_is_known_in_every_recorder():
    seen = []

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if tracing():
                seen.append(True)
                return x + 1
            return x

    model, x = Model(), torch.zeros(2)
    assert not tracing()
    assert torch.equal(model(x), x)
    assert torch.equal(torch.jit.trace(model, x)(x), x + 1)
    assert torch.equal(torch.export.export(model, (x,)).module()(x), x + 1)
    torch.compiler.reset()
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(x), x + 1)
    assert not tracing()


def test_what_runs_at_trace_time_runs_once_and_sees_the_real_object():
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3), requires_grad=False)
            self.packed, self.calls = None, []

        @at_trace_time
        def refresh(self) -> None:
            self.calls.append(type(self.weight))
            self.packed = 2 * self.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.refresh()
            return x * self.packed

    model, x = Model(), torch.ones(3)
    torch.compiler.reset()
    program = torch.compile(model, fullgraph=True, backend="eager")
    assert program(x).tolist() == [2, 2, 2]
    assert program(x).tolist() == [2, 2, 2]
    assert model.calls == [torch.nn.Parameter]
    model.weight.mul_(5)
    model(x)  # an eager call packs anew, and the graph reads what is packed
    assert program(x).tolist() == [10, 10, 10]


def test_the_mark_is_torchs_own():
    @torch.compiler.assume_constant_result
    def theirs() -> None: ...

    @at_trace_time
    def ours() -> None: ...

    assert vars(ours) == vars(theirs)


def test_what_stays_outside_graphs():
    @outside_graphs
    def add(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    x = torch.zeros(2)
    assert add.__name__ == "add"
    assert torch.equal(add(x), x + 1)
    torch.compiler.reset()
    assert torch.equal(torch.compile(lambda x: add(x) * 2, backend="eager")(x), x + 2)
    with pytest.raises(ConfigError, match="backend='torch'"):
        torch.jit.trace(lambda x: add(x), x)


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_constants_of_a_trace_need_no_warning():
    def scale(x: torch.Tensor) -> torch.Tensor:
        with as_constants():
            assert x.shape[0] == 2
            return x * torch.tensor([3.0])

    x = torch.ones(2)
    assert torch.equal(torch.jit.trace(scale, x)(x), 3 * x)
