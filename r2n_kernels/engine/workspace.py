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
Names = tuple[str, ...]


class Workspace:
    """Threads and streams must not share it at a time: the backend orders its callers."""

    def __init__(
        self, plan: Plan, op_of: Callable[[Step], Op], weights: Mapping[str, PackedConv],
        device: torch.device, *, graphed: bool,
    ) -> None:  # fmt: skip
        self.plan, self.op_of, self.weights = plan, op_of, weights
        self.device, self.graphed = device, graphed
        self.buffers = allocate(plan, device, plan.main_buffers)
        # the first step reads the user's tensor, so it is bound in every call
        self.calls = {step.name: self._bound(step) for step in plan.main[1:]}
        self._steps: dict[Names, Names] = {}  # that run after the first, by what is wanted
        self._graphs: dict[Names, torch.cuda.CUDAGraph | None] = {}
        self._streams: set[int] = set()
        self._kinds: set[tuple[object, ...]] = set()  # of inputs that kernels are compiled for
        self.pinned = False  # part of a CUDA graph of the user's

    def knows(self, x: Tensor, wanted: Sequence[str]) -> bool:
        """Return whether everything is compiled for an input like x, and what is wanted of it."""
        return _kind(x) in self._kinds and all(name in self.calls for name in self._after(wanted))

    def compile(
        self, x: Tensor, normalization: Normalization | None, wanted: Sequence[str]
    ) -> None:
        """Compile what is not compiled yet, running nothing. Raises KernelError.

        A step aside gets its buffers when its output is wanted first.
        """
        if self.knows(x, wanted):
            return
        kind = _kind(x)
        if kind not in self._kinds:
            rest = () if self._kinds else chain.from_iterable(self.calls.values())
            for call in (*self._prepare(x, normalization), *rest):
                compile_call(call)
            self._kinds.add(kind)
        for step in self.plan.steps_for(wanted) if wanted else ():
            if step.name in self.calls or not step.aside:
                continue
            new = [self.plan.buffers[n] for n in step.writes if n not in self.buffers]
            self.buffers |= allocate(self.plan, self.device, new)
            self._streams.clear()  # they have to know the new ones, too
            calls = self._bound(step)
            for call in calls:
                compile_call(call)
            self.calls[step.name] = calls

    def run(
        self, x: Tensor, normalization: Normalization | None, wanted: Sequence[str]
    ) -> list[Tensor]:
        """Run x [N, Ci, H, W], in any strides, and copy the wanted buffers."""
        launch(self._prepare(x, normalization))
        self._rest(self._after(wanted))
        return [output(self.plan, name, self.buffers) for name in wanted]

    def _after(self, wanted: Sequence[str]) -> Names:
        """Return the steps that run after the first one."""
        if not wanted:
            return ()
        names = tuple(wanted)
        if names not in self._steps:
            self._steps[names] = tuple(step.name for step in self.plan.steps_for(names)[1:])
        return self._steps[names]

    def _bound(self, step: Step) -> tuple[Call, ...]:
        return bind(step, self.buffers, self.weights, op=self.op_of(step)).calls()

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

    def _rest(self, steps: Names) -> None:
        """Run these of the steps after the first one: eagerly, then from a graph of them."""
        calls = [call for name in steps for call in self.calls[name]]
        if not self.graphed or torch.cuda.is_current_stream_capturing():
            launch(calls)
        elif steps not in self._graphs:  # the first time, Triton still loads its binaries
            launch(calls)
            self._graphs[steps] = None
        else:
            graph = self._graphs[steps] or _capture(calls, self.device)
            self._graphs[steps] = graph
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
