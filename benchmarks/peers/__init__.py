"""Whom r2n_kernels is timed beside, behind one small interface.

A peer builds, from the eager model and a case, a call that maps x to logits. Its library is
imported then, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from . import compiled, eager, onnx, openvino, ours

__all__ = ["PEERS", "Call", "Case", "Peer", "installed", "our_peer", "required"]

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """What is timed. x: [N, C, H, W] on the device and in the dtype of the case."""

    x: Tensor

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
    given; backend: what computes; family: of the eager model; needs: modules.
    """

    subject: str  # as tables and records name it
    layout: str
    backend: str
    family: str
    needs: tuple[str, ...]
    build: Callable[[nn.Module, Case], Call]
    ours: bool = False


def _peer(subject: str, build: Callable, needs: tuple[str, ...] = (), **given: str) -> Peer:
    filled = {"layout": "channels_last", "backend": "torch", "family": "timm", **given}
    return Peer(subject, build=build, needs=needs, **filled)


# by their names on the command line, in the order of tables
PEERS = {
    "timm-nchw": _peer("timm eager, NCHW", eager.nchw, ("timm",), layout="contiguous"),
    "timm": _peer("timm eager, channels_last", eager.channels_last, ("timm",)),
    "timm-compile": _peer(
        "timm torch.compile, channels_last", compiled.build, ("timm",), backend="inductor"
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
