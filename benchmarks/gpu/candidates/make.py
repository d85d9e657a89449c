"""Compile the candidates with the Triton installed here: cubins, PTX and a manifest.

The Triton of the machine with the GPU plays no part then: cubins of Triton 3.8's assembler (CUDA
12.9) load on every driver from then on.

usage: make.py [FOLDER] [--arch 90] [--only TEXT ...]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import triton
from triton.errors import TritonError

from ....compiled.build import compile_instance
from ....compiled.instances import specialise
from ....kernels.resident import resident_stage
from ....kernels.targets import NVIDIA, TARGETS
from ....kernels.versions import served
from .cases import MANIFEST, Block, Candidate, call_of, candidates

FOLDER = Path(__file__).with_name("out")  # that git ignores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    archs = [TARGETS[name].capability for name in NVIDIA]
    parser.add_argument("--arch", type=int, choices=archs, default=90, help="90 for sm_90")
    parser.add_argument("--only", nargs="+", default=[""], help="names that hold one of these")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    target, block = served(TARGETS[f"sm_{args.arch}"]), Block.of(2, torch.device("meta"))
    if target.no_gluon:
        print(f"left out: resident chains: {target.no_gluon}")
    manifest: list[dict[str, Any]] = []
    failed = 0
    for candidate in candidates(target):
        if not any(text in candidate.name for text in args.only):
            continue
        try:
            item = made(candidate, block, args.arch, args.folder, len(manifest))
        except (TritonError, RuntimeError) as error:  # the latter from LLVM's and MLIR's passes
            failed += 1
            print(f"{candidate.name}: {type(error).__name__}: {str(error)[-200:]}", flush=True)
        else:
            manifest.append(item)
            print(f"{candidate.name}: {item['shared']} bytes of shared memory", flush=True)
    (args.folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    print(f"{len(manifest)} candidates for sm_{args.arch} in {args.folder}")
    return 0 if manifest and not failed else 1


def made(
    candidate: Candidate, block: Block, arch: int, folder: Path, number: int
) -> dict[str, Any]:
    """Compile a candidate into the folder. Return what `measure` must know of it."""
    call, form = call_of(candidate, block), candidate.form
    if form is not None:
        b = block
        (call,) = resident_stage(b.planes, b.lines, b.bias, b.y, layout=b.layout, form=form)
    instance = specialise(call, f"sm_{arch}")
    compiled = compile_instance(instance)
    ptx = compiled.texts["ptx"]
    (folder / f"{number}.cubin").write_bytes(compiled.cubin)
    (folder / f"{number}.ptx").write_text(ptx, encoding="utf-8")
    entry, head = re.findall(r"\.entry\s+(\w+)\s*\((.*?)\)", ptx, re.S)[0]
    return {
        "candidate": candidate.to_json(), "file": number, "entry": entry, "arch": arch,
        "arguments": list(instance.parameters),
        "bits": [int(bits) for bits in re.findall(r"\.param\s+\.[usb](\d+)", head)],
        "warps": instance.warps, "shared": compiled.facts.shared, "triton": triton.__version__,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
