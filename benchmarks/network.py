"""Whole networks are timed side by side: this project's and its peers, on one case."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from ..config import Res2NetConfig, default_pretrained_cfg
from ..data import create_transform, resolve_data_config
from ..engine.precision import exact
from ..errors import ConfigError
from ..measure.timing import SECONDS, Samples, current, interleave
from ..proof.parity import eager_model
from ..proof.tolerance import Verdict
from ..reference import Res2Net
from .material import SCOPES, Material, material_of
from .memory import build_and_measure
from .outputs import OutputCheck
from .peers import COMPILE_SECONDS, Case, Peer

TINY = Res2NetConfig(layers=(1, 1), planes=(8, 12), num_classes=3)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

Feed = Callable[[], Tensor]


@dataclass(frozen=True)
class Result:
    """A Result holds times of one subject, and its verdict."""

    peer: Peer
    samples: Samples | None = None
    again: Samples | None = None  # the same once more in the same rounds
    memory: int | None = None
    verdict: Verdict | None = None
    left_out: str = ""  # why it was not timed, or why its times are not shown

    @property
    def wrong(self) -> bool:
        return self.verdict is not None and not self.verdict.passed


class Bench:
    """A Bench gives all subjects one variant, weights and BatchNorm statistics seeded random."""

    def __init__(
        self, model: str, peers: Sequence[Peer], compile_seconds: float = COMPILE_SECONDS
    ) -> None:
        """Raise ConfigError where a peer's model library is not installed."""
        self.model, self.peers, self.compile_seconds = model, peers, compile_seconds
        self.reference = eager_model(model, "reference")
        families = {peer.family for peer in peers} - {"reference", ""}
        self.eager = {"": self.reference, "reference": self.reference}
        self.eager |= {family: eager_model(model, family) for family in families}
        self._warm: set[Peer] = set()

    def run(
        self, batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device,
        scope: str = SCOPES[0], rounds: int = 7, seconds: float = SECONDS, twice: bool = False,
        folder: str | None = None,
    ) -> list[Result]:  # fmt: skip
        """Build all subjects, time them in turns, and check the outputs of those that were timed.

        twice: each twice per round, which shows how far the same code is from itself. Times come
        before the check because its float64 forward leaves the allocator in a state that no
        process is in which only runs a model. A wrong subject's times are not returned.
        """
        self._warm_up(device)
        material = self.material(batch, height, width, scope, folder)
        case = Case(material.x.to(device, dtype), self.compile_seconds)
        calls: dict[Peer, Callable[[], Tensor]] = {}
        found: dict[Peer, Result] = {}
        for forget in dict.fromkeys(peer.forget for peer in self.peers if peer.forget):
            forget()
        with torch.no_grad(), exact(device, dtype), current(device), tuned_cudnn():
            for peer in self.peers:
                feed = feed_of(case, peer, material.make)
                build = partial(self.build, peer, case, feed)
                try:
                    calls[peer], memory = build_and_measure(build, device)
                except Exception as error:
                    if peer.ours and not isinstance(error, ConfigError):
                        raise
                    found[peer] = Result(peer, left_out=reason_of(error))
                else:
                    found[peer] = Result(peer, memory=memory)
            subjects = {peer.subject: call for peer, call in calls.items()}
            both = dict(subjects)
            if twice:
                both |= {f"{name}, again": call for name, call in subjects.items()}
            # events do not see the host's work, which preprocessing is
            clock = device if scope == SCOPES[0] else None
            timed = interleave(both, rounds, device=clock, seconds=seconds, wall=True)
            # a copy: a CUDA graph's output is overwritten, by other peers' graphs too
            outputs = {peer: call().to(torch.float32, copy=True) for peer, call in calls.items()}
        check = OutputCheck(self.reference, case.x)
        for peer, output in outputs.items():
            verdict = check.judge(peer.subject, output)
            result = Result(peer, verdict=verdict, left_out="wrong outputs")
            if verdict.passed:
                again = timed.get(f"{peer.subject}, again")
                memory = found[peer].memory
                result = Result(peer, timed[peer.subject], again, memory, verdict)
            found[peer] = result
        return [found[peer] for peer in self.peers]

    def _warm_up(self, device: torch.device) -> None:
        """Have peers import what they need, on a tiny network: it is no part of their memory.

        A compiler on a GPU is left out: it takes half a minute, and imports use no GPU memory.
        """
        case = Case(torch.zeros(1, 3, 32, 32, device=device), self.compile_seconds)
        for peer in self.peers:
            slow = device.type == "cuda" and peer.backend == "inductor"
            if peer not in self._warm and not peer.ours and not slow:
                self._warm.add(peer)
                with contextlib.suppress(Exception), torch.no_grad():  # told when it is timed
                    peer.build(Res2Net(TINY).eval(), case)(feed_of(case, peer, None)())

    def material(
        self, batch: int, height: int, width: int, scope: str, folder: str | None = None
    ) -> Material:
        """Return what is timed, in the model's own preprocessing. Raises ConfigError."""
        prepare = self._preparation(height, width)
        return material_of(batch, height, width, scope, prepare, folder)

    def build(self, peer: Peer, case: Case, feed: Feed) -> Callable[[], Tensor]:
        """Return a call of a subject, of an instance of its own."""
        call = peer.build(copy.deepcopy(self.eager[peer.family]), case)
        return lambda: call(feed())

    def _preparation(self, height: int, width: int) -> Callable[[Sequence[Image.Image]], Tensor]:
        """Return the model's own transform to height and width: images -> [N, 3, H, W]."""
        size = {"input_size": (3, height, width)}
        config = resolve_data_config(size, default_pretrained_cfg(self.model))
        transform = create_transform(**config, is_training=False)
        return lambda photos: torch.stack([transform(photo) for photo in photos])


@contextlib.contextmanager
def tuned_cudnn() -> Iterator[None]:
    """Let cuDNN try its algorithms for each shape, as timm's benchmark does, in the context."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def reason_of(error: Exception) -> str:
    if isinstance(error, ConfigError):  # the peer's own word on what it cannot do
        return str(error)
    return f"failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def feed_of(case: Case, peer: Peer, prepare: Callable[[], Tensor] | None) -> Feed:
    """Return what a call of the subject starts with: a ready tensor, or images made into one."""
    memory_format = FORMATS[peer.layout]
    if prepare is None:
        ready = case.x.contiguous(memory_format=memory_format)
        return lambda: ready
    return lambda: prepare().to(case.device, case.dtype, memory_format=memory_format)
