"""Throughput of the folded network against eager PyTorch, interleaved in one process.

    python -m r2n_kernels.benchmarks.eager --batch 8 --dtype float32 --threads 2

The eager peer is timm's model (or the reference), channels_last, in the same dtype. Only the model
is timed, on a tensor that is ready. No time is shown for a network whose outputs are wrong.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import HEADLINE, variant_name
from ..factory import from_timm
from ..model import Res2NetModel
from ..parity import PEERS, check_parity, eager_model
from ..tolerance import Verdict
from . import provenance
from .machine import describe_machine
from .records import Record, append
from .timing import Samples, interleave


@dataclass(frozen=True)
class Comparison:
    eager: Samples
    ours: Samples
    batch: int
    gmacs: float  # of one image
    again: Mapping[str, Samples] = field(default_factory=dict)  # each once more, in the same rounds

    @property
    def speedup(self) -> float:
        return self.ours.speedup_over(self.eager)

    def lines(self) -> list[str]:
        """One line a subject: images a second, milliseconds a batch, achieved GMAC/s."""
        rows = []
        for samples in (self.eager, self.ours):
            rate = self.batch / samples.median
            rows.append(
                f"{samples.name:32} {rate:8.2f} img/s {samples.median * 1e3:9.1f} ms/batch"
                f" {rate * self.gmacs:8.1f} GMAC/s"
            )
        return [*rows, f"{'speed-up, median of the rounds':32} {self.speedup:8.2f}x"]


def compare(
    eager: nn.Module, ours: Res2NetModel, x: Tensor, *, peer: str, rounds: int, twice: bool = False
) -> Comparison:
    """Time `eager` (moved to channels_last and x's dtype) and `ours` on x [N, C, H, W].

    twice: both twice a round, which shows how far the same code is from itself.
    """
    eager = eager.to(memory_format=torch.channels_last, dtype=x.dtype, device=x.device)
    x = x.to(memory_format=torch.channels_last)
    gmacs = ours.plan(*x.shape[:1], *x.shape[2:]).macs / x.shape[0] / 1e9

    def call(model: nn.Module) -> Callable[[], Tensor]:
        return torch.no_grad()(lambda: model(x))

    subjects = {f"{peer} eager, channels_last": call(eager), "r2n_kernels": call(ours)}
    both = dict(subjects)
    if twice:  # each still follows the other
        both |= {f"{name}, again": subject for name, subject in subjects.items()}
    timed = interleave(both, rounds)
    again = {name: timed[f"{name}, again"] for name in subjects if twice}
    return Comparison(*(timed[name] for name in subjects), x.shape[0], gmacs, again)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=HEADLINE)
    parser.add_argument("--peer", default="timm", choices=PEERS)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--record", metavar="FILE", help="append the samples (see records.py)")
    args = parser.parse_args(argv)

    name = variant_name(args.model)
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    eager = eager_model(name, args.peer)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.batch, 3, args.size, args.size, generator=generator)

    ours = from_timm(eager, dtype=dtype, device=args.device)
    result = compare(
        copy.deepcopy(eager), ours, x.to(args.device, dtype), peer=args.peer, rounds=args.rounds,
        twice=args.record is not None,
    )  # fmt: skip
    # Timed first, shown last: a float64 forward leaves the allocator in a state that no process
    # which only runs a model is in.
    rows = check_parity(eager, x[:1], dtype, backend="auto", device=args.device)
    failed = [row.verdict.name for row in rows if not row.verdict.passed]
    if failed:
        print(f"wrong outputs, so no times: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"{datetime.date.today()}  {describe_machine()}")
    print(f"{name}, {args.dtype}, batch {args.batch}, {args.size} px, model only")
    print("\n".join(result.lines()))
    if args.record:
        worst = max((row.verdict for row in rows), key=lambda v: v.error / v.limit)
        for record in records_of(result, ours, name, x.shape, worst):
            append(Path(args.record), record)
    return 0


def records_of(
    result: Comparison, ours: Res2NetModel, name: str, shape: Sequence[int], worst: Verdict
) -> list[Record]:
    """Both subjects' samples. worst: of the parity gate."""
    commit, dirty = provenance.commit()
    parity = {"passed": worst.passed, "error": worst.error, "limit": worst.limit}
    dtype = str(ours.dtype).removeprefix("torch.")
    n, _, h, w = shape
    return [
        Record(
            subject=samples.name, model=name, dtype=dtype, layout="channels_last",
            backend=backend, batch=n, height=h, width=w, scope="model", step=None, count=1,
            macs=ours.plan(n, h, w).macs, bytes=None, memory=None, peak=None,
            machine=provenance.machine(ours.device), commit=commit, dirty=dirty,
            kernels=provenance.kernels_hash(), time=provenance.now(),
            samples=tuple((s,) for s in samples.seconds),
            again=tuple((s,) for s in result.again[samples.name].seconds), parity=parity,
        )
        for samples, backend in ((result.eager, "torch"), (result.ours, ours.backend_name))
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
