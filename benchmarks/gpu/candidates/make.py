"""Compile the candidates with the Triton installed here: cubins, PTX and a manifest.

The Triton of the machine with the GPU plays no part then: cubins of Triton 3.8's assembler (CUDA
12.9) load on every driver from then on.

usage: make.py [FOLDER] [--arch 90] [--only TEXT ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.errors import TritonError

from ....compiled.instances import Instance, specialise
from ....kernels.call import Call
from .cases import MANIFEST, Block, Candidate, call_of, candidates

GLUON = (3, 8)  # the Triton from which on it gathers from shared memory
FOLDER = Path(__file__).with_name("out")  # that git ignores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--arch", type=int, default=90, help="compute capability, 90 for sm_90")
    parser.add_argument("--only", nargs="+", default=[""], help="names that hold one of these")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    block, failed = Block.of(2, torch.device("meta")), 0
    manifest: list[dict[str, Any]] = []
    resident = resident_module(args.arch)
    for candidate in candidates():
        wanted = any(text in candidate.name for text in args.only)
        left_out = candidate.tile is None and resident is None
        if not wanted or left_out or (candidate.narrow and args.arch != 90):
            continue
        call = call_of(candidate, block)
        if candidate.tile is None:
            constants = resident.constants(args.arch, candidate.narrow, block.layout.image_rows)
            warps = constants["WM"] * constants["WN"]
            kernel = resident.stage_resident_kernel
            call = dataclasses.replace(call, kernel=kernel, constants=constants, warps=warps)
        try:
            item = made(candidate, call, args.arch, args.folder, len(manifest))
        except (TritonError, RuntimeError) as error:  # the latter from LLVM's and MLIR's passes
            failed += 1
            print(f"{candidate.name}: {type(error).__name__}: {str(error)[-200:]}", flush=True)
        else:
            manifest.append(item)
            print(f"{candidate.name}: {item['shared']} bytes of shared memory", flush=True)
    (args.folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    print(f"{len(manifest)} candidates for sm_{args.arch} in {args.folder}")
    return 0 if manifest and not failed else 1


def resident_module(arch: int) -> Any:
    """Import the resident chains; return None, and print why, where they cannot be compiled."""
    version = triton.__version__
    if tuple(map(int, version.split(".")[:2])) < GLUON:
        print(f"left out: resident chains: the Gluon of Triton {version} cannot compile them")
        return None
    from . import resident

    if arch not in resident.FORMS:
        print(f"left out: resident chains: they have no form for sm_{arch}")
        return None
    return resident


def made(candidate: Candidate, call: Call, arch: int, folder: Path, number: int) -> dict[str, Any]:
    """Compile a candidate into the folder. Return what `measure` must know of it."""
    instance = specialise(call, f"sm_{arch}")
    target = GPUTarget("cuda", arch, 32)
    source = source_of(instance, call, gluon=candidate.tile is None)
    compiled = triton.compile(source, target=target, options=call.options)
    ptx = compiled.asm["ptx"]
    (folder / f"{number}.cubin").write_bytes(compiled.asm["cubin"])
    (folder / f"{number}.ptx").write_text(ptx, encoding="utf-8")
    entry, head = re.findall(r"\.entry\s+(\w+)\s*\((.*?)\)", ptx, re.S)[0]
    return {
        "candidate": candidate.to_json(), "file": number, "entry": entry, "arch": arch,
        "arguments": [name for name, kind in instance.signature if kind != "constexpr"],
        "bits": [int(bits) for bits in re.findall(r"\.param\s+\.[usb](\d+)", head)],
        "warps": compiled.metadata.num_warps, "shared": compiled.metadata.shared,
        "triton": triton.__version__,
    }  # fmt: skip


def source_of(instance: Instance, call: Call, *, gluon: bool) -> Any:
    """Return what triton.compile takes."""
    attrs = {place: [list(pair) for pair in pairs] for place, pairs in instance.attrs}
    given = (call.kernel, dict(instance.signature), dict(instance.constants), attrs)
    if gluon:
        from triton.experimental.gluon._runtime import GluonASTSource

        return GluonASTSource(*given)
    return ASTSource(*given)


if __name__ == "__main__":
    sys.exit(main())
