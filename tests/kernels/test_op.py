"""Every op has what an op needs, and a new one needs a file, a twin and a step, nothing else."""

from __future__ import annotations

import inspect
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

from r2n_kernels import kernels
from r2n_kernels.config import VARIANTS
from r2n_kernels.kernels import ops
from r2n_kernels.kernels.op import Op, all_ops
from r2n_kernels.plan import SCHEDULES, build_plan
from r2n_kernels.reference import twins

FOLDER = Path(kernels.__file__).parent

# a new op's file: its kernel, launcher, contract and record
DOUBLE = """
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Call, Calls
from .op import Faults, Op
from .op_checks import shape


@triton.jit
def double_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets) * 2)


def double(x: Tensor, out: Tensor, *, block: int) -> Calls:
    args = {"x_ptr": x, "out_ptr": out}
    return (Call(double_kernel, x.shape[0] // block, args, {"BLOCK": block}, 4),)


def contract(x: Tensor, out: Tensor, *, block: int) -> Faults:
    yield from shape("out", out, *x.shape)


OP = Op(
    double, contract, reads=("x",), writes=("out",), weights=(), kernel_options=("block",)
)
"""
# finds it, registers it, and runs a step of it by its kernel, its operator and its twin
USE = """
import sys, torch
from r2n_kernels import kernels
from r2n_kernels.reference import twins
kernels.__path__.append(sys.argv[1])
twins.double = lambda x, out: out.copy_(x * 2)

import r2n_kernels.kernels.ops
from r2n_kernels.engine.triton_ops import bind
from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.plan import Step

device = "cpu" if interpreted() else "cuda"
x = torch.arange(32.0, device=device)
by_kernel, by_twin, by_operator = (torch.zeros_like(x) for _ in range(3))
step = Step("name", "double", (), ("a",), ("b",), (), 0, options={"block": 16})
launch(bind(step, {"a": x, "b": by_kernel}, {}).calls())
bind(step, {"a": x, "b": by_twin}, {}).run_twin()
torch.ops.r2n_kernels.double(x, by_operator, block=16)
assert by_kernel.tolist() == by_twin.tolist() == by_operator.tolist() == (2 * x).tolist()
try:
    torch.ops.r2n_kernels.double(x, x[:16].clone(), block=16)
except ValueError as error:
    print(error)
"""


def parameters(function) -> dict[str, tuple[object, object]]:
    found = inspect.signature(function).parameters.values()
    return {parameter.name: (parameter.annotation, parameter.kind) for parameter in found}


@pytest.fixture(scope="module")
def planned() -> set[str]:
    """What the variants' plans run."""
    found = set()
    for config, schedule in product(VARIANTS.values(), SCHEDULES):
        plan = build_plan(config, 1, 96, 96, torch.float16, "triton", schedule=schedule)
        found |= {step.op for step in plan.steps}
    return found


def test_every_file_with_a_kernel_has_its_records():
    with_kernels = {
        path.stem
        for path in FOLDER.glob("*.py")
        if any(line.startswith("def ") and "_kernel(" in line for line in path.open())
    }
    with_kernels.add("resident")  # its kernels are in the folder `gluon`
    assert {op.launcher.__module__.rpartition(".")[2] for op in all_ops().values()} == with_kernels
    assert [name for name, op in all_ops().items() if name != op.name] == []


@pytest.mark.parametrize("op", all_ops().values(), ids=all_ops())
def test_an_op_is_whole(op: Op, planned):
    taken = parameters(op.launcher)
    assert parameters(op.contract) == taken
    twin = parameters(getattr(twins, op.name))
    assert twin == {name: taken[name] for name in op.twin_options(taken)}
    tensors = [name for name, (kind, _) in taken.items() if kind == "Tensor"]
    assert sorted(set(op.tensors)) == sorted(tensors)
    assert set(op.kernel_options) <= set(taken) - set(tensors)
    schema = getattr(torch.ops.r2n_kernels, op.name).default._schema
    assert str(schema) == f"{ops.NAMESPACE}::{op.name}{ops.schema_of(op)}"
    assert op.name in planned


@pytest.mark.slow
def test_a_new_op_is_one_file_and_a_twin(tmp_path):
    (tmp_path / "double.py").write_text(DOUBLE)
    command = [sys.executable, "-c", USE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "double: out must have shape [32], got [16]\n"
