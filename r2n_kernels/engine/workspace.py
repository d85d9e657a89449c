"""A workspace holds a plan on one device: its buffers, kernel launches and CUDA graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from ..errors import KernelError, R2NError
from ..fold.triton_layout import PackedConv
from ..kernels.call import Call, launch
from ..kernels.op import Op
from ..plan import Plan, Step
from .backend import Normalization
from .triton_ops import allocate, bind, output

CAPTURING = threading.Lock()
Places = tuple[int, ...]  # among the steps after the first one


class Workspace:
    """Threads and streams must not share it at a time: the backend orders its callers."""

    def __init__(
        self, plan: Plan, op_of: Callable[[Step], Op], weights: Mapping[str, PackedConv],
        device: torch.device, *, graphed: bool,
    ) -> None:  # fmt: skip
        self.plan, self.op_of, self.weights = plan, op_of, weights
        self.device, self.graphed = device, graphed
        self.buffers = allocate(plan, device)
        # the first step reads the user's tensor, so it is bound in every call
        self.calls = [
            bind(step, self.buffers, weights, op=op_of(step)).calls() for step in plan.steps[1:]
        ]
        self._places: dict[tuple[str, ...], Places] = {}  # of steps to run, by what is wanted
        self._graphs: dict[Places, torch.cuda.CUDAGraph | None] = {}
        self._streams: set[int] = set()
        self._kinds: set[tuple[object, ...]] = set()  # of inputs that kernels are compiled for
        self.pinned = False  # part of a CUDA graph of the user's

    def knows(self, x: Tensor) -> bool:
        """Return whether everything is compiled for an input like x."""
        return _kind(x) in self._kinds

    def compile(self, x: Tensor, normalization: Normalization | None) -> None:
        """Compile what is not compiled yet, running nothing. Raises KernelError."""
        if self.knows(x):
            return
        rest = () if self._kinds else chain.from_iterable(self.calls)
        for call in (*self._prepare(x, normalization), *rest):
            compile_call(call)
        self._kinds.add(_kind(x))

    def run(
        self, x: Tensor, normalization: Normalization | None, wanted: Sequence[str]
    ) -> list[Tensor]:
        """Run x [N, Ci, H, W], in any strides, and copy the wanted buffers."""
        names = tuple(wanted)
        if names not in self._places:
            steps = {step.name for step in self.plan.steps_for(names)}
            rest = enumerate(self.plan.steps[1:])
            self._places[names] = tuple(i for i, step in rest if step.name in steps)
        launch(self._prepare(x, normalization))
        self._rest(self._places[names])
        return [output(self.plan, name, self.buffers) for name in wanted]

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory from being reused, when this goes, before the stream is done with it."""
        if stream.cuda_stream in self._streams:
            return
        self._streams.add(stream.cuda_stream)
        packed = ((conv.weight, conv.bias, conv.shortcut) for conv in self.weights.values())
        for tensor in (*self.buffers.values(), *chain.from_iterable(packed)):
            if tensor is not None:
                tensor.record_stream(stream)

    def _prepare(self, x: Tensor, normalization: Normalization | None) -> tuple[Call, ...]:
        step, buffers = self.plan.steps[0], {"input": x, **self.buffers}
        return bind(step, buffers, self.weights, normalization, op=self.op_of(step)).calls()

    def _rest(self, places: Places) -> None:
        """Run these of the steps after the first one: eagerly, then from a graph of them."""
        calls = [call for place in places for call in self.calls[place]]
        if not self.graphed or torch.cuda.is_current_stream_capturing():
            launch(calls)
        elif places not in self._graphs:  # the first time, Triton still loads its binaries
            launch(calls)
            self._graphs[places] = None
        else:
            graph = self._graphs[places] or _capture(calls, self.device)
            self._graphs[places] = graph
            graph.replay()


def _capture(calls: Sequence[Call], device: torch.device) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    # A stream of its own: torch's default one is shared, and belongs to the first device that
    # captured. One capture at a time: it starts by waiting for the device, which no other capture
    # on it survives. Other threads may go on allocating meanwhile.
    stream = torch.cuda.Stream(device, priority=-1)  # from a pool that few others draw from
    # the outer one brings the caller's stream back if the capture fails
    with (
        CAPTURING,
        torch.cuda.stream(stream),
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        launch(calls)
    return graph


def _kind(x: Tensor) -> tuple[object, ...]:
    """Return what Triton specialises the first kernel by."""
    return x.dtype, x.stride(), x.data_ptr() % 16 == 0


def compile_call(call: Call) -> None:
    """Compile and load a launch's code, running nothing. Raises KernelError, or BundleError."""
    try:
        call.compile()
    except R2NError:  # of code that is loaded, not compiled, and names itself
        raise
    except Exception as error:
        raise KernelError(
            f"{call.name} does not compile here: {type(error).__name__}: {error}"
        ) from error
