"""A plan needs these kernel instances on one target, as Triton's JIT would make them there.

`instances` runs in a worker: a parent under TRITON_INTERPRET=1 has no compilable kernels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..bundle.ops import FORMS
from ..config import Res2NetConfig
from ..kernels.call import Call
from ..kernels.targets import TARGETS, Target
from ..kernels.tiles import TileTable
from ..plan import Plan, Step, build_plan

if TYPE_CHECKING:
    from ..engine.triton_ops import BoundStep
    from ..fold.triton_layout import PackedConv

MEMORY = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Request:
    """A Request is one forward pass: a model, an input shape, a dtype and a target.

    target: a name of kernels.targets.TARGETS. chip: what tiles are chosen for, if not for the
    target's own chip. tiles: measured ones, as TritonOptions takes them. forms: of the input, out
    of FORMS. either: add each tiled stage under the other schedule with the same tile, as the
    self-test runs it.
    """

    config: Res2NetConfig
    batch: int
    height: int
    width: int
    dtype: torch.dtype
    target: str
    schedule: str = "auto"
    chip: Target | None = None
    tiles: TileTable | None = None
    forms: tuple[str, ...] = FORMS[:1]
    either: bool = False


@dataclass(frozen=True)
class Instance:
    """It is one kernel, specialised: all that a compilation is told, as hashable, picklable data.

    signature: types by parameter. constants, attrs: by the parameter's place, as triton's ASTSource
    takes them. registers: the most that a thread may use; 0 leaves it to the compiler.
    """

    target: str
    module: str
    function: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[tuple[int, ...], Any], ...]
    attrs: tuple[tuple[tuple[int, ...], tuple[tuple[str, int], ...]], ...]
    warps: int
    registers: int = 0

    @property
    def constant(self) -> dict[str, Any]:
        """Return constants by the name of their parameter."""
        names = [name for name, _ in self.signature]
        return {names[place[0]]: value for place, value in self.constants}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the compiled kernel's parameters, in order."""
        return tuple(name for name, kind in self.signature if kind != "constexpr")

    @property
    def kernel(self) -> str:
        """Return the function's name without "_kernel"."""
        return self.function.removesuffix("_kernel")

    @property
    def wants_tensor_cores(self) -> bool:
        """Return whether it multiplies matrices of 8 or 16 bits; float32 is IEEE, on FMA units."""
        types = {kind for _, kind in self.signature}
        return "BLOCK_K" in self.constant and bool(types & {"*fp16", "*bf16", "*i8"})

    @property
    def name(self) -> str:
        """Describe it: "conv1 56x56 256->128 128x128x64 s3 w8"."""
        return " ".join(self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words of the name."""
        limit = (f"r{self.registers}",) if self.registers else ()
        return (self.kernel, *self.geometry, *self.tile, f"w{self.warps}", *limit)

    @property
    def tile(self) -> tuple[str, ...]:
        """Return ("128x64x32", "s3"): BLOCK_M x BLOCK_N x BLOCK_K and the pipeline's stages."""
        constant = self.constant
        names = [name for name in constant if name.startswith("BLOCK_")]
        if not constant.get("KS"):  # conv3 without a projection
            names = [name for name in names if name != "BLOCK_KS"]
        sides = "x".join(str(constant[name]) for name in names)
        return (sides, f"s{constant['STAGES']}") if "STAGES" in constant else (sides,)

    @property
    def geometry(self) -> tuple[str, ...]:
        """Return ("56x56", "256->128"): output pixels where they are known, inputs, outputs."""
        constant = self.constant
        height, width = (constant.get(f"{a}O", constant.get(a, 1)) for a in "HW")
        k, n = constant.get("K", constant.get("CI")), constant.get("N", constant.get("C"))
        channels = str(n) if k is None else f"{k}->{n}"
        return (f"{height}x{width}", channels) if height > 1 else (channels,)


@dataclass(frozen=True)
class LaunchSites:
    """LaunchSites say where a request launches an instance.

    steps: of the plan. launches: in all of them. grid: programs of the largest launch.
    """

    batch: int
    steps: tuple[str, ...]
    launches: int
    grid: int


def plan_of(request: Request, images: int | None = None) -> Plan:
    """Plan the forward pass, or one of fewer images with the kernels of the request's batch."""
    from ..kernels.versions import served  # here: a parent that only reads needs no Triton

    return build_plan(
        request.config, images or request.batch, request.height, request.width, request.dtype,
        "triton", target=served(request.chip or TARGETS[request.target]), tiles=request.tiles,
        schedule=request.schedule, as_batch=request.batch,
    )  # fmt: skip


def instances(request: Request) -> list[tuple[Instance, LaunchSites]]:
    """Return every different instance of the request, in the order of its first launch.

    The input is assumed aligned to 16 bytes; it and floats are in the network's dtype.
    """
    found: dict[Instance, list[tuple[str, int]]] = {}  # (step, grid) of every launch
    for _, bound in bound_steps(request, plan_of(request)):
        for call in bound.calls():
            instance = specialise(call, request.target)
            found.setdefault(instance, []).append((bound.step.name, call.grid))
    return [
        (instance, LaunchSites(request.batch, tuple(dict.fromkeys(steps)), len(steps), max(grids)))
        for instance, launches in found.items()
        for steps, grids in [zip(*launches, strict=True)]
    ]


def bound_steps(request: Request, plan: Plan) -> Iterator[tuple[str, BoundStep]]:
    """Yield a plan's steps, bound to meta tensors: the first for each form of input, or with ""."""
    from ..engine.triton_ops import allocate, bind

    meta, weights = torch.device("meta"), meta_weights(request.config, request.dtype)
    with meta:
        inputs = {form: _input(form, plan) for form in request.forms}
    buffers = allocate(plan, meta)
    for step in _steps(plan, either=request.either):
        if "input" not in step.reads:
            yield "", bind(step, buffers, weights)
            continue
        for form, (x, normalization) in inputs.items():
            yield form, bind(step, {"input": x, **buffers}, weights, normalization)


@lru_cache(maxsize=2)
def meta_weights(config: Res2NetConfig, dtype: torch.dtype) -> Mapping[str, PackedConv]:
    """Pack a network's weights on the meta device, by the names of their steps."""
    from ..engine.kernel_backend import pack
    from ..reference import Res2Net

    with torch.device("meta"):
        return pack(config, Res2Net(config).state_dict(), dtype)[1]


def _input(form: str, plan: Plan) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Return an input [N, Ci, H, W], and scale and shift for bytes."""
    n, ci, h, w = plan.buffers["input"].shape
    if form == "bytes":  # as images are decoded: [N, H, W, Ci]
        scale_and_shift = (torch.empty(ci), torch.empty(ci))
        return torch.empty(n, h, w, ci, dtype=torch.uint8).permute(0, 3, 1, 2), scale_and_shift
    x = torch.empty(n, ci, h, w, dtype=plan.dtype)
    return x.contiguous(memory_format=MEMORY[form]), None


def _steps(plan: Plan, *, either: bool) -> Iterator[Step]:
    for step in plan.steps:
        yield step
        if either and "chained" in step.options:
            options = {**step.options, "chained": not step.options["chained"]}
            yield dataclasses.replace(step, options=options)


@lru_cache(maxsize=128)
def _binder(kernel: Any, target: str) -> tuple[Any, Any]:
    """Return Triton's backend for a target, and its function that binds a kernel's arguments."""
    # here, so that a parent can unpickle an Instance without Triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    chosen = TARGETS[target]
    backend = make_backend(GPUTarget(chosen.backend, chosen.arch, chosen.warp_size))
    return backend, create_function_from_signature(kernel.signature, kernel.params, backend)


def specialise(call: Call, target: str) -> Instance:
    """Return the instance that a launch needs.

    The JIT's own rules decide (triton/runtime/jit.py, `run`): types, alignment, ones as constants.
    A tensor on the meta device has the address 0, and so counts as aligned.
    """
    kernel = call.kernel
    backend, bind_arguments = _binder(kernel, target)
    bound, specialization, _ = bind_arguments(**call.args, **call.constants)
    signature, constants, attrs = [], [], []
    for place, (name, (kind, attribute)) in enumerate(zip(bound, specialization, strict=True)):
        signature.append((name, kind))
        if kind == "constexpr":
            constants.append(((place,), bound[name]))
        elif pairs := backend.parse_attr(attribute or ""):
            attrs.append(((place,), tuple(map(tuple, pairs))))
    return Instance(
        target, kernel.fn.__module__, kernel.fn.__name__, tuple(signature), tuple(constants),
        tuple(attrs), call.warps, call.registers,
    )  # fmt: skip
