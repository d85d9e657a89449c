"""What torch.export leaves to be done."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r2n_kernels.export import drop_unused

from .conftest import TRACED, build, compiler, dynamic, images


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
