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
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import HEADLINE, variant_name
from ..factory import from_timm
from ..model import Res2NetModel
from ..parity import PEERS, check_parity, eager_model
from .machine import describe_machine
from .timing import Samples, interleave


@dataclass(frozen=True)
class Comparison:
    eager: Samples
    ours: Samples
    batch: int
    gmacs: float  # of one image

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
    eager: nn.Module, ours: Res2NetModel, x: Tensor, *, peer: str, rounds: int
) -> Comparison:
    """Time `eager` (moved to channels_last and x's dtype) and `ours` on x [N, C, H, W]."""
    eager = eager.to(memory_format=torch.channels_last, dtype=x.dtype, device=x.device)
    x = x.to(memory_format=torch.channels_last)
    gmacs = ours.plan(*x.shape[:1], *x.shape[2:]).macs / x.shape[0] / 1e9

    def call(model: nn.Module) -> Callable[[], Tensor]:
        return torch.no_grad()(lambda: model(x))

    subjects = {f"{peer} eager, channels_last": call(eager), "r2n_kernels": call(ours)}
    timed = interleave(subjects, rounds)
    return Comparison(*timed.values(), batch=x.shape[0], gmacs=gmacs)


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
    args = parser.parse_args(argv)

    name = variant_name(args.model)
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    eager = eager_model(name, args.peer)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.batch, 3, args.size, args.size, generator=generator)

    ours = from_timm(eager, dtype=dtype, device=args.device)
    result = compare(
        copy.deepcopy(eager), ours, x.to(args.device, dtype), peer=args.peer, rounds=args.rounds
    )
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
