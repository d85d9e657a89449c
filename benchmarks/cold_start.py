"""Time a process from its start to its first logits: with a bundle, and with Triton's compiler.

    python -m r2n_kernels.benchmarks.cold_start model.r2n --json cold.json

On a GPU a bundle stands beside the JIT with an empty cache, and with one that has its kernels. On
the CPU a stand-in for CUDA's driver takes the launches and runs nothing (--driver: the folder of
its libcuda.so.1; the tests build one): that is the host's part alone. A part of the file is hashed
when it is read, so the times of weights and first logits include that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..bundle import open_bundle
from ..errors import ConfigError, KernelError, R2NError
from ..files import replace_text
from ..measure.machine import machine_facts
from ..measure.parts import now
from ..text import text_table
from .cold_start_child import HOST

CHILD = "r2n_kernels.benchmarks.cold_start_child"
RUNS = 5
MESSAGE = 2000  # characters of a child's last words
SCOPES = {
    HOST: "the host's part alone: a stand-in for CUDA's driver runs no kernel",
    "cuda": "kernels run on the GPU",
}


@dataclass(frozen=True)
class ColdStart:
    """A ColdStart holds what processes of one kind took: seconds by part and run, peak memory."""

    subject: str
    shape: str
    seconds: Mapping[str, Sequence[float]]
    peak: int | None
    gpu_peak: int | None

    @property
    def totals(self) -> list[float]:
        """Return the seconds of each run."""
        return [sum(run) for run in zip(*self.seconds.values(), strict=True)]

    @property
    def after_torch(self) -> float:
        """Return the median seconds from when torch was imported to the first logits."""
        before = zip(self.seconds["python"], self.seconds["import torch"], strict=True)
        return statistics.median(
            total - sum(run) for total, run in zip(self.totals, before, strict=True)
        )


def measure(
    path: Path, device: str, *, driver: Path | None = None, runs: int = RUNS
) -> list[ColdStart]:
    """Start processes one at a time. Raises ConfigError, BundleError, and KernelError with the
    last words of a process that failed."""
    if (device == HOST) != (driver is not None):
        raise ConfigError("a stand-in driver belongs to the CPU: pass its folder there, alone")
    if driver is not None and not (driver / "libcuda.so.1").is_file():
        raise ConfigError(f"{driver} has no libcuda.so.1")
    target = open_bundle(path).manifest.targets[0]
    environment = dict(os.environ)
    if driver is not None:
        others = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (str(driver), others)))

    def several(subject: str, backend: str, caches: Sequence[str]) -> ColdStart:
        given = [{**environment, "TRITON_CACHE_DIR": cache} for cache in caches]
        told = [_child([str(path), device, target, backend], env) for env in given]
        seconds = {name: [one["seconds"][name] for one in told] for name in told[0]["seconds"]}
        peaks = ([one[name] for one in told] for name in ("peak", "gpu peak"))
        most = (max(values) if None not in values else None for values in peaks)
        return ColdStart(subject, told[0]["shape"], seconds, *most)

    with tempfile.TemporaryDirectory(prefix="r2n-cold-") as folder:
        empty = [str(Path(folder, str(run))) for run in range(runs)]
        found = [several("bundle", "bundle", empty)]
        if device != HOST:
            found.append(several("JIT, no cache", "triton", empty))
            found.append(several("JIT, its cache", "triton", empty[:1] * runs))
    return found


def _child(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", CHILD, str(now()), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"a process failed: {done.stderr[-MESSAGE:].strip()}")
    return json.loads(done.stdout)


def rows(found: Sequence[ColdStart]) -> list[Sequence[str]]:
    """Return a table, titles first: medians in milliseconds, by part and in all; MB of memory."""
    parts = list(found[0].seconds)
    titles = ["ms", *parts, "in all", "after torch", "peak MB", "tensors MB"]
    table: list[Sequence[str]] = [titles]
    for one in found:
        times = [statistics.median(one.seconds[name]) for name in parts]
        times += [statistics.median(one.totals), one.after_torch]
        memory = ("-" if n is None else f"{n / 1e6:.0f}" for n in (one.peak, one.gpu_peak))
        table.append([one.subject, *(f"{1e3 * s:.0f}" for s in times), *memory])
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write all runs where --json says."""
    parser = argparse.ArgumentParser(
        prog="python -m r2n_kernels.benchmarks.cold_start", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", choices=SCOPES,
                        default="cuda" if torch.cuda.is_available() else HOST)  # fmt: skip
    parser.add_argument("--driver", type=Path, help="folder of a stand-in libcuda.so.1, on the CPU")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes of each kind")
    parser.add_argument("--json", type=Path, help="write every run there")
    options = parser.parse_args(argv)
    try:
        found = measure(options.bundle, options.device, driver=options.driver, runs=options.runs)
    except R2NError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    facts = machine_facts(torch.device(options.device))
    scope = SCOPES[options.device]
    print(f"{found[0].shape}, {facts['gpu'] or facts['cpu']}, {scope}; medians of {options.runs}")
    print("\n".join(text_table(rows(found))))
    if options.json:
        results = [asdict(one) for one in found]
        told = {"scope": scope, "machine": facts, "results": results}
        replace_text(options.json, json.dumps(told, indent=1) + "\n", [options.bundle])
    return 0


if __name__ == "__main__":
    sys.exit(main())
