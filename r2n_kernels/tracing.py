"""A call computes, or is being recorded into a graph that computes later."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn, TypeVar

import torch

from .errors import ConfigError

T = TypeVar("T")
_OWN_KERNELS = (
    "this backend launches kernels of its own, which no graph can hold; build the model with "
    "backend='torch' to export it or to compile it whole"
)


def tracing() -> bool:
    """Return whether torch.compile, torch.export (ONNX too) or torch.jit.trace records this call.

    What depends on values, on memory or on threads then stays out of the way: sizes may be symbols,
    and what is looked up now must still be right when the graph runs.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def transforming() -> bool:
    """Return whether torch.func (vmap, grad, jvp ...) stands between a call and its numbers."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def as_constants() -> AbstractContextManager[None]:
    """Let torch.jit.trace take values for constants without a warning: they are meant to be."""
    return _without_warnings() if torch.jit.is_tracing() else nullcontext()


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


def at_trace_time(fn: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile runs fn while it makes a graph, as it is, and takes its result for a constant.

    This is torch.compiler.assume_constant_result without its import of the whole compiler, Triton
    included, which `import r2n_kernels` must not cost.
    """
    vars(fn)["_dynamo_marked_constant"] = True
    return fn


def unrecorded(make: Callable[[], T]) -> T:
    """Return make(), of real numbers whoever records here: recorders and modes are a thread's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def outside_graphs(fn: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile runs fn between its graphs; where one graph must hold all, an error says why.

    Under torch.compile(fullgraph=True) it is torch's own, which gives the reason since torch 2.7.
    The compiler is not imported for that: a process without one starts a second earlier.
    """

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if tracing():
            raise ConfigError(_OWN_KERNELS)
        return fn(*args, **kwargs)

    disabled: list[Callable[..., Any]] = []  # torch's own wrapper, once there is a compiler

    @functools.wraps(fn)
    def outside(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return run(*args, **kwargs)
        if not disabled:
            disabled.append(_disabled(run))
        return disabled[0](*args, **kwargs)

    return _marked(outside)


def _marked(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark fn as torch.compiler.disable does, so that no graph takes it in."""
    vars(fn).update(_torchdynamo_disable=True, _torchdynamo_disable_msg=_OWN_KERNELS)
    return fn


@_marked
def _disabled(fn: Callable[..., Any]) -> Callable[..., Any]:
    takes_reason = "reason" in inspect.signature(torch.compiler.disable).parameters
    return torch.compiler.disable(fn, **({"reason": _OWN_KERNELS} if takes_reason else {}))


def refuse_script(model: object) -> NoReturn:
    """Raise ConfigError, as torch.jit.script of a model does."""
    raise ConfigError(
        f"torch.jit.script cannot read {type(model).__name__}; record a call instead, with "
        "torch.jit.trace(model, x), torch.export.export(model, (x,)) or torch.compile(model)"
    )
