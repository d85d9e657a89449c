"""Whom r2n_kernels is timed beside, behind one small interface.

A peer builds, from the eager model and a case, a call that maps x to logits. Its library is
imported then, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from . import compiled, eager, onnx, openvino, ours

__all__ = ["COMPILE_SECONDS", "PEERS", "Call", "Case", "Peer", "installed", "our_peer", "required"]

COMPILE_SECONDS = 300.0

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """What is timed. x: [N, C, H, W] on the device and in the dtype of the case.

    compile_seconds: that a peer may take to compile itself.
    """

    x: Tensor
    compile_seconds: float = COMPILE_SECONDS

    @property
    def dtype(self) -> torch.dtype:
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        return self.x.device


@dataclass(frozen=True)
class Peer:
    """build(eager, case): `eager` is float32 on the CPU, and the peer's own, to change at will.

    It raises ConfigError, saying why, where the peer cannot do the case. layout: of what it is
    given; backend: what computes; family: of the eager model; needs: modules; on_request: it is
    left out of "all"; forget: gives up what was built for earlier cases.
    """

    subject: str  # as tables and records name it
    layout: str
    backend: str
    family: str
    needs: tuple[str, ...]
    build: Callable[[nn.Module, Case], Call]
    ours: bool = False
    on_request: bool = False
    forget: Callable[[], None] | None = None


def _peer(subject: str, build: Callable, needs: tuple[str, ...] = (), **given: Any) -> Peer:
    filled = {"layout": "channels_last", "backend": "torch", "family": "timm", **given}
    return Peer(subject, build=build, needs=needs, **filled)


def _compiler(subject: str, build: Callable, **given: Any) -> Peer:
    needs, forget = ("timm",), compiled.forget
    return _peer(subject, build, needs, backend="inductor", forget=forget, **given)


# by their names on the command line, in the order of tables
PEERS = {
    "timm-nchw": _peer("timm eager, NCHW", eager.nchw, ("timm",), layout="contiguous"),
    "timm": _peer("timm eager, channels_last", eager.channels_last, ("timm",)),
    "timm-compile": _compiler("timm torch.compile, channels_last", compiled.frozen),
    "timm-compile-graph": _compiler("timm torch.compile, not frozen", compiled.graphed),
    "timm-compile-max-autotune": _compiler(
        "timm torch.compile, max-autotune", compiled.max_autotune, on_request=True
    ),
    "reference": _peer("reference eager, channels_last", eager.channels_last, family="reference"),
    "onnxruntime": _peer(
        "ONNX Runtime", onnx.build, ("onnxruntime", "onnx", "onnxscript"), layout="contiguous",
        backend="onnxruntime", family="reference",
    ),
    "openvino": _peer(
        "OpenVINO", openvino.build, ("openvino",), layout="contiguous", backend="openvino",
        family="reference",
    ),
}  # fmt: skip


def our_peer(backend: str) -> Peer:
    """This project's network on a resolved backend: "torch" or "triton"."""
    build = ours.builder(backend)
    return Peer(f"r2n_kernels, {backend}", "channels_last", backend, "", (), build, ours=True)


def installed(peer: Peer) -> bool:
    return not _lacking(peer)


def _lacking(peer: Peer) -> list[str]:
    return [module for module in peer.needs if find_spec(module) is None]


def required(names: list[str]) -> list[Peer]:
    """Peers by name. Raises ConfigError for an unknown one, and for one that is not installed."""
    for name in names:
        if name not in PEERS:
            raise ConfigError(f"unknown peer '{name}'; expected one of {', '.join(PEERS)}")
        if lacking := _lacking(PEERS[name]):
            raise ConfigError(
                f"peer '{name}' needs {', '.join(lacking)}: pip install 'r2n_kernels[peers]'"
            )
    return [PEERS[name] for name in names]
