"""Time a peer that compiles, at its turn, beside this project; build it ahead, in bounded time.

usage: peers.py PEER BATCH RECORDS.jsonl OUT.json [--wait] [--compile-seconds S] [--dry]
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from functools import partial
from pathlib import Path

import torch

from ...config import HEADLINE, VARIANTS
from ...engine.precision import exact
from ...measure.timing import current, interleave
from ...plan import build_plan
from ...proof.parity import eager_model
from ...reference import Res2Net, randomize
from ..material import SCOPES, noise
from ..network import TINY, Result, tuned_cudnn
from ..outputs import OutputCheck
from ..peak import peak_of
from ..peers import COMPILE_SECONDS, PEERS, Case, our_peer
from ..recorder import Recorder
from ..records import append
from .facts import Facts

CALLS = 3  # before it is ready: the first compile, the second may capture a graph


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("batch", type=int)
    parser.add_argument("records", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wait", action="store_true", help="say ready, and wait for a line")
    parser.add_argument("--compile-seconds", type=float, default=COMPILE_SECONDS, metavar="S")
    parser.add_argument("--dry", action="store_true", help="on the CPU, tiny")
    args = parser.parse_args()
    device = torch.device("cpu" if args.dry else "cuda")
    dtype = torch.float32 if args.dry else torch.float16
    with torch.no_grad(), exact(device, dtype), current(device), tuned_cudnn():
        return run(args, device, dtype)


def run(args: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> int:
    """Return 0 where the peer was timed; 1 for wrong outputs."""
    facts, batch = Facts(args.out), args.batch
    config, size = (TINY, 32) if args.dry else (VARIANTS[HEADLINE], 224)
    reference = randomize(Res2Net(config).eval())  # the same weights as timm's
    eager = reference if args.dry else eager_model(HEADLINE, "timm")
    x = noise(batch, size, size).to(device, dtype, memory_format=torch.channels_last)

    ours, peer = our_peer("torch" if args.dry else "triton"), PEERS[args.peer]
    facts.keep("subject", peer.subject)
    facts.keep("batch", batch)
    start = time.perf_counter()
    calls = {}
    for each in (ours, peer):
        call = each.build(copy.deepcopy(eager), Case(x, args.compile_seconds))
        calls[each.subject] = partial(call, x)
        for _ in range(CALLS):
            calls[each.subject]()
    facts.keep("seconds to build", round(time.perf_counter() - start, 1))
    if args.wait:
        print("ready", flush=True)
        sys.stdin.readline()

    rounds, seconds = (3, 0.01) if args.dry else (7, 0.1)
    timed = interleave(calls, rounds, device=device, seconds=seconds, wall=True)
    logits = calls[peer.subject]().to(torch.float32, copy=True)  # a graph overwrites its output
    verdict = OutputCheck(reference, x).judge(peer.subject, logits)
    facts.keep("error", verdict.error)
    if not verdict.passed:
        print(f"wrong outputs: error {verdict.error:.1e}, limit {verdict.limit:.1e}")
        return 1
    mine, its = timed[ours.subject], timed[peer.subject]
    facts.keep("img/s of r2n_kernels", round(batch / mine.median, 1))
    facts.keep("r2n_kernels over it", round(mine.speedup_over(its), 3))
    plan = build_plan(config, batch, size, size, dtype)
    recorder = Recorder("tiny" if args.dry else HEADLINE, device)
    result = Result(peer, its, verdict=verdict)
    for record in recorder.networks([result], plan, peak_of(device, dtype), SCOPES[0]):
        append(args.records, record)
    facts.keep("img/s", round(batch / its.median, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
