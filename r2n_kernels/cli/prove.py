"""r2n prove runs a bundle's code in the emulator, and puts what it found into the bundle."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..text import counted, text_table
from .arguments import add_shared
from .inspect import compiling
from .output import Case, check_output, write_json, write_junit
from .terminal import say

if TYPE_CHECKING:
    from torch import Tensor

    from ..compiled.proving import Proof

EXAMPLES = """examples:
  r2n prove model.r2n
  r2n prove model.r2n --json proof.json --junit proof.xml

Needs neither a GPU nor Triton. Each kernel that the bundle's plans launch is
run on up to two images, its numbers held to PyTorch's, its accesses to shared
and global memory watched for races and bounds; then a whole network for each
target. The report takes the place of an older one, and is of exactly these
parts: it changes the file's SHA-256, which the last line says.

exit codes:
  0 all is proven; 1 something is wrong, as the report says, too; 2 no bundle,
  a damaged one, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="FILE", help="a bundle that `r2n build` wrote")
    add_shared(parser, "--json", "--junit")
    add_shared(parser, "--jobs", help="kernels run at once (default: cores)")


def run(args: argparse.Namespace) -> int:
    for option in ("json", "junit"):
        check_output(f"--{option}", getattr(args, option), [args.bundle])
    from ..weights.files import sha256_of

    start = time.perf_counter()
    proof = prove_file(args.bundle, args.jobs)
    report(proof, args.json, args.junit)
    verdict = counted(len(proof.faults), "fault") if proof.faults else "proven"
    say(
        f"{args.bundle}: {counted(len(proof.kernels), 'kernel')}, "
        f"{counted(len(proof.networks), 'network')}: {verdict} "
        f"({time.perf_counter() - start:.0f} s)"
    )
    print(f"SHA-256 {sha256_of(Path(args.bundle))}")  # another than before: the report is in it
    return 1 if proof.faults else 0


def prove_file(path: str, jobs: int | None, state: Mapping[str, Tensor] | None = None) -> Proof:
    """Prove a bundle with a bar, and write the report into it, also one of faults.

    state: the weights that its own were packed of. Raises BundleError.
    """
    from ..compiled.pool import Pool
    from ..compiled.proving import prove, write

    with Pool(jobs or os.cpu_count() or 1) as pool, compiling() as told:
        proof = prove(path, pool, state, **told)
    write(path, proof)
    return proof


def report(proof: Proof, json: str | None = None, junit: str | None = None) -> None:
    """Print what is proven, what is wrong first, and write the files that were asked for."""
    if json != "-":
        for one in proof.parts:
            for fault in one.faults:
                print(f"WRONG  {one.name}: {fault}")
        print("\n".join(text_table(rows(proof))))
    if json:
        write_json(json, proof.encode())
    if junit:
        cases = [Case(one.name, "; ".join(one.faults) or None) for one in proof.parts]
        write_junit(junit, "r2n prove", cases)


def rows(proof: Proof) -> list[tuple[str, ...]]:
    """Return a line per target: kernels that are right, and the network's worst output."""
    lines: list[tuple[str, ...]] = [
        ("target", "kernels", "wrong", "network", "worst output", "error", "limit")
    ]
    for network in proof.networks:
        target = network.shape.target
        mine = [one for one in proof.proven if one.task.shape.target == target]
        kernels = sum(len(one.task.codes) for one in mine)
        wrong = sum(len(one.task.codes) for one in mine if one.faults)
        size = f"{network.images} x {network.shape.height}x{network.shape.width}"
        figures = ("none", "", "")
        if network.verdicts:
            worst = max(network.verdicts, key=lambda verdict: verdict.severity)
            figures = (worst.name, f"{worst.error:.1e}", f"{worst.limit:.1e}")
        lines.append((target, str(kernels), str(wrong), size, *figures))
    return lines
