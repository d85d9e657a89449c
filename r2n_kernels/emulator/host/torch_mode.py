"""While it is on, torch's calls of this thread are seen: memory nobody wrote, and devices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode

from .blank import HARMLESS, MAKERS, Blanks

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
NAME = re.compile(r"cuda(:\d+)?")
MOVES = ("to", "cuda", "cpu")
ANSWERS = {"device": CUDA, "is_cuda": True, "is_cpu": False}  # of a CPU tensor that is a GPU's


class HostMode(TorchFunctionMode):
    """A HostMode marks what torch.empty returns, and, where cuda_as_cpu, keeps GPU tensors here.

    Then every CPU tensor says that it lies on cuda:0, and moves between the two are copies.
    """

    def __init__(self, blanks: Blanks, *, cuda_as_cpu: bool) -> None:
        super().__init__()
        self.blanks, self.cuda_as_cpu = blanks, cuda_as_cpu
        self._paused, self._inside = False, 0

    @contextmanager
    def again(self) -> Iterator[None]:
        """See calls of Python code that a call which is seen runs, as backward does."""
        if not self._inside:
            yield
            return
        before, self._inside = self._inside, 0
        try:
            with self:
                yield
        finally:
            self._inside = before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """See nothing for a while: a launch asks tensors where they really are."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if self._paused:
            return func(*args, **kwargs)
        self._inside += 1
        try:
            return self._seen(func, name, args, kwargs)
        finally:
            self._inside -= 1

    def _seen(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        if self.cuda_as_cpu and func is not torch.device:
            answer = self._answer(func, name, args)
            if answer is not NotImplemented:
                return answer
            if name in MOVES and isinstance(args[0], torch.Tensor):
                return self._moved(name, args, kwargs)
            args, kwargs = _mapped(args), {k: here(v) for k, v in kwargs.items()}
            kwargs.pop("pin_memory", None)
        if name not in HARMLESS:
            self.blanks.forget((*args, *kwargs.values()))
        made = func(*args, **kwargs)
        if name in MAKERS and isinstance(made, torch.Tensor):
            self.blanks.mark(made)
        return made

    def _answer(self, func: Any, name: str, args: Any) -> Any:
        """Answer what a tensor on a GPU would say of itself; NotImplemented for all else."""
        if not args or not isinstance(args[0], torch.Tensor) or args[0].device != CPU:
            return NotImplemented
        if name == "__get__":
            return ANSWERS.get(
                getattr(getattr(func, "__self__", None), "__name__", ""), NotImplemented
            )
        if name == "get_device":
            return 0
        if name == "pin_memory":
            return args[0].clone()
        return {"record_stream": None, "is_pinned": False}.get(name, NotImplemented)

    def _moved(self, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Copy what moves between the host and the GPU; a leaf that wants gradients stays one."""
        tensor, *rest = args
        self.blanks.forget([tensor])
        if name != "to":
            kwargs, rest = {"device": CPU}, []
        rest, kwargs = _mapped(rest), {k: here(v) for k, v in kwargs.items()}
        if rest and type(rest[0]) is int:  # the number of a GPU
            rest = [CPU, *rest[1:]]
        moves = "device" in kwargs or any(isinstance(v, (torch.device, str)) for v in rest)
        if moves and not (tensor.is_leaf and tensor.requires_grad):
            kwargs["copy"] = True
        return tensor.to(*rest, **kwargs)


@contextmanager
def seen_backward(mode: HostMode) -> Iterator[None]:
    """Let a mode see what functions of one's own do in a backward pass."""
    run = getattr(torch.autograd, "_engine_run_backward", None)
    if run is None:
        yield
        return

    def seen(*args: Any, **kwargs: Any) -> Any:
        with mode.again():
            return run(*args, **kwargs)

    with patch.object(torch.autograd, "_engine_run_backward", seen):
        yield


def _mapped(args: Any) -> Any:
    return type(args)(here(v) for v in args) if isinstance(args, (tuple, list)) else args


def here(value: Any) -> Any:
    """Return the CPU for a GPU, or for the name of one; all else as it is."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return CPU
    if isinstance(value, str) and NAME.fullmatch(value):
        return "cpu"
    return value
