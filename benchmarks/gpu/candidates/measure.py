"""Check and time candidates that `make` compiled; without a GPU their PTX runs in the emulator.

A candidate with wrong results has no time. Each is timed with what it reads just written, as in a
network: launches between CUDA events, the median of REPEATS.

usage: measure.py FOLDER OUT.json [--images 256] [--only TEXT] [--emulate]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from ....engine.precision import exact
from ....files import place_of
from ....proof.tolerance import judge, oracle_dtype
from ..facts import Facts
from .cases import MACS, MANIFEST, Block, Candidate, call_of, run_twin
from .launch import InEmulator, OnGpu

WARMUP, REPEATS = 5, 20
EMULATED = 2  # images: enough to see one touch the other


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--emulate", action="store_true", help="on the CPU, two images")
    args = parser.parse_args()
    device = torch.device("cpu" if args.emulate else "cuda")
    place_of(args.out, [args.folder / MANIFEST])  # raises where it cannot be written
    manifest = json.loads((args.folder / MANIFEST).read_text(encoding="utf-8"))
    facts, failed = Facts(args.out), []
    with torch.no_grad(), exact(device, torch.float32):
        bench = Bench(EMULATED if args.emulate else args.images, device, args.folder)
        for item in manifest:
            name = item["candidate"]["name"]
            if args.only in name:
                row = bench.measure(item)
                failed += [f"{name}: {row['failed']}"] if "failed" in row else []
                facts.keep(name, row)
    told = "; ".join([f"{len(facts.found) - len(failed)} of {len(facts.found)} right", *failed[:1]])
    print(f"candidates: {told}", flush=True)
    return 1 if failed or not facts.found else 0


class Bench:
    """A Bench holds the block on a device, and the right results of each kind."""

    def __init__(self, images: int, device: torch.device, folder: Path) -> None:
        self.block, self.device, self.folder = Block.of(images, device), device, folder
        self.right: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def measure(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return error and, on a GPU, microseconds; "failed" says why it is wrong or refused."""
        candidate, gpu = Candidate.from_json(item["candidate"]), self.device.type == "cuda"
        row: dict[str, Any] = {"name": candidate.name, "arch": item["arch"]}
        try:
            run = (OnGpu if gpu else InEmulator)(self.folder, item)
            call = call_of(candidate, self.block)
            values = [call.args[name] for name in item["arguments"]]
            self.block.reset(candidate.kind)
            run(call.grid, values)
            row |= {"registers": run.registers, "CTAs an SM": run.ctas}
            twin, truth = self._right(candidate.kind)
            verdict = judge(candidate.name, self.block.written(candidate.kind), [twin], truth)
            row |= {"error": verdict.error, "limit": verdict.limit}
            if not verdict.passed:
                row["failed"] = f"wrong: error {verdict.error:.1e}, limit {verdict.limit:.1e}"
            elif gpu:
                row |= self._time(candidate.kind, run, call.grid, values)
        except Exception as error:  # noqa: BLE001  one that faults is told, and the next is tried
            row["failed"] = f"{type(error).__name__}: {str(error)[:200]}"
        return row

    def _right(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the PyTorch twin writes in float16, and in a wider dtype."""
        if kind not in self.right:
            twin, truth = (
                self._twin(kind, t) for t in (torch.float16, oracle_dtype(torch.float16))
            )
            self.right[kind] = twin, truth
        return self.right[kind]

    def _twin(self, kind: str, dtype: torch.dtype) -> torch.Tensor:
        block = self.block.to(dtype)
        block.reset(kind)
        run_twin(kind, block)
        return block.written(kind).clone()

    def _time(
        self, kind: str, run: OnGpu | InEmulator, grid: int, values: list[Any]
    ) -> dict[str, float]:
        times = []
        for _ in range(WARMUP + REPEATS):
            self.block.reset(kind)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run(grid, values)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) * 1e3)
        us = statistics.median(times[WARMUP:])
        flops = 2 * MACS[kind] * self.block.layout.N
        return {"us": round(us, 2), "useful TFLOP/s": round(flops / us / 1e6, 1)}


if __name__ == "__main__":
    sys.exit(main())
