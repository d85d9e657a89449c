"""Peers are timed beside r2n_kernels, behind one small interface.

A peer builds, from the eager model and a case, a call that maps x to logits. Its library is
imported then, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from torch import nn

from ...errors import ConfigError
from . import compiled, libraries
from .libraries import COMPILE_SECONDS, Call, Case

__all__ = [
    "COMPILE_SECONDS",
    "PEERS",
    "Call",
    "Case",
    "Peer",
    "bundle_peer",
    "installed",
    "our_peer",
    "required",
]


@dataclass(frozen=True)
class Peer:
    """A Peer has build(eager, case). `eager` is float32 on the CPU, the peer's own to change.

    It raises ConfigError, saying why, where the peer cannot do the case.
    """

    subject: str  # as tables and records name it
    build: Callable[[nn.Module, Case], Call]
    needs: tuple[str, ...] = ()  # modules
    layout: str = "channels_last"  # of what it is given
    backend: str = "torch"  # what computes
    family: str = "timm"  # of the eager model
    ours: bool = False
    on_request: bool = False  # it is left out of "all"
    forget: Callable[[], None] | None = None  # gives up what was built for earlier cases


_timm = partial(Peer, needs=("timm",))
_compiler = partial(_timm, backend="inductor", forget=compiled.forget)
_runtime = partial(Peer, layout="contiguous", family="reference")

# by their names on the command line, in the order of tables
PEERS = {
    "timm-nchw": _timm("timm eager, NCHW", libraries.contiguous, layout="contiguous"),
    "timm": _timm("timm eager, channels_last", libraries.channels_last),
    "timm-compile": _compiler("timm torch.compile, channels_last", compiled.frozen),
    "timm-compile-graph": _compiler("timm torch.compile, not frozen", compiled.graphed),
    "timm-compile-max-autotune": _compiler(
        "timm torch.compile, max-autotune", compiled.max_autotune, on_request=True
    ),
    "reference": Peer(
        "reference eager, channels_last", libraries.channels_last, family="reference"
    ),
    "onnxruntime": _runtime(
        "ONNX Runtime",
        libraries.onnxruntime,
        ("onnxruntime", "onnx", "onnxscript"),
        backend="onnxruntime",
    ),
    "openvino": _runtime("OpenVINO", libraries.openvino, ("openvino",), backend="openvino"),
    "openvino-throughput": _runtime(
        "OpenVINO, throughput", libraries.openvino_streams, ("openvino",), backend="openvino"
    ),
}


def our_peer(backend: str) -> Peer:
    """Return this project's network on a resolved backend, "torch" or "triton", as a peer."""
    build = partial(libraries.ours, backend=backend)
    return Peer(f"r2n_kernels, {backend}", build, backend=backend, family="", ours=True)


def bundle_peer(path: str) -> Peer:
    """Return this project's network on the code of a bundle, as a peer."""
    build = partial(libraries.bundled, path=path)
    return Peer("r2n_kernels, bundle", build, backend="bundle", family="", ours=True)


def installed(peer: Peer) -> bool:
    return not _lacking(peer)


def _lacking(peer: Peer) -> list[str]:
    return [module for module in peer.needs if find_spec(module) is None]


def required(names: list[str]) -> list[Peer]:
    """Return peers by name. Raises ConfigError for one that is unknown or not installed."""
    for name in names:
        if name not in PEERS:
            raise ConfigError(f"unknown peer '{name}'; expected one of {', '.join(PEERS)}")
        if lacking := _lacking(PEERS[name]):
            raise ConfigError(
                f"peer '{name}' needs {', '.join(lacking)}: pip install 'r2n_kernels[peers]'"
            )
    return [PEERS[name] for name in names]
