"""The sections, most important first: what each runs, for how long at most, and what it needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

from .place import Place
from .section import Section

HEADLINE = "res2net101_26w_4s"
TINY = "res2net50_48w_2s"  # of a dry run
PEERS = tuple((peer, n) for peer in ("timm-compile", "timm-compile-graph") for n in (256, 1))
DRY_PEERS = (("timm-compile", 1),)  # the other is for GPUs alone
BUILD = 200  # seconds that torch.compile may take, beside other sections
DRY_TIMES = 4
SANITIZER = ("--print-limit", "20", "--error-exitcode", "9")
WORKERS = 10  # of pytest: each has a CUDA context


def sections(place: Place) -> tuple[Section, ...]:
    listed = (
        *prepare(place), selftest_quick(place), probe(place), candidates(place), bench(place),
        *peers(place), steps(place), *everything(place), ncu(place), bench_bf16(place),
        *sanitizers(place),
    )  # fmt: skip
    return tuple(map(on_cpu, listed)) if place.dry else listed


def on_cpu(section: Section) -> Section:
    """Dry, a section needs no GPU and none of its tools, but time on a few busy cores."""
    return replace(section, needs=(), seconds=DRY_TIMES * section.seconds)


def prepare(p: Place) -> Iterator[Section]:
    links = ("--links",) if p.links else ()
    install = p.script("install.py", p.root, p.scratch / "site", *links)
    yield Section("install", 60, (install,), setup=True)
    left = p.part("environment.json")
    yield Section("environment", 40, (p.module("environment", left),), setup=True, leaves=(left,))
    what = ("--dtype", "float16", "bfloat16", "--batch", "1", "8", "32", "256", "--selftest")
    yield Section("warm", 100, (warm(p, *what),), env={"OMP_NUM_THREADS": "1"}, needs=("gpu",))


def warm(p: Place, *what: str) -> tuple[str, ...]:
    """Compile many kernels at once: just in time it is one after the other."""
    model, size = HEADLINE, "224"
    if p.dry:
        model, size = TINY, "32"
        what = ("--dtype", "float16", "--batch", "1", "--target", "sm_90")
    return p.r2n("warm", "--model", model, "--size", size, *what, "--jobs", str(p.jobs))


def selftest_quick(p: Place) -> Section:
    """Where it fails, again with CUDA's own assembler instead of Triton's."""
    left = p.part("selftest_quick.json")
    quick = p.r2n("selftest", "--quick", "--json", left)
    section = Section("selftest_quick", 90, (quick,), needs=("gpu",), leaves=(left,),
                      env=interpreted(p))  # fmt: skip
    ptxas = shutil.which("ptxas", path=p.path)
    if ptxas is None or p.dry:
        return section
    some = warm(p, "--dtype", "float16", "--batch", "1", "--selftest")  # it is other code
    again = replace(section, name="selftest_ptxas", seconds=120, commands=(some, quick),
                    env={"TRITON_PTXAS_PATH": ptxas})  # fmt: skip
    return replace(section, otherwise=again)


def probe(p: Place) -> Section:
    left = p.part("probe.json")
    command = p.dryable("probe", left)
    return Section("probe", 60, (command,), needs=("gpu",), times=True, leaves=(left,))


def candidates(p: Place) -> Section:
    """Those that were compiled elsewhere; dry, one is compiled here and emulated."""
    left, needs = p.part("candidates.json"), ("gpu", "candidates", "cuda-bindings")
    if not p.dry:
        commands = (p.module("candidates.measure", p.candidates, left),)
    else:
        # of sm_80: its code is right by older Tritons too
        one, made = ("--arch", "80", "--only", "conv1 128x64x64 w4 s4"), p.scratch / "candidates"
        commands = (
            p.module("candidates.make", made, *one),
            p.module("candidates.measure", made, left, "--emulate"),
        )
    return Section("candidates", 60, commands, needs=needs, times=True, leaves=(left,))


def bench(p: Place) -> Section:
    words = ("--batch", "1", "8", "32", "256", "--backend", "triton", "torch")
    command = timed(p, "float16", *words, rounds=5, seconds=0.1)
    return Section("bench", 110, (command,), needs=("gpu",), times=True)


def bench_bf16(p: Place) -> Section:
    command = timed(p, "bfloat16", "--batch", "1", "256", "--backend", "triton", rounds=3,
                    seconds=0.1)  # fmt: skip
    return Section("bench_bf16", 45, (command,), needs=("gpu",), times=True)


def timed(p: Place, dtype: str, *words: str, rounds: int, seconds: float) -> tuple[str, ...]:
    """r2n bench, on the GPU or tiny on the CPU. Without timm its peer is the reference."""
    case = ("--device", "cuda", "--dtype", dtype)
    if p.dry:
        case, rounds, seconds = ("--model", TINY, "--size", "32"), 2, 0.001
        words = (*(word for word in words if word == "--steps"), "--batch", "1")
    often = ("--rounds", str(rounds), "--seconds", str(seconds), "--record", p.records)
    return p.r2n("bench", *case, *words, *often)


def peers(p: Place) -> Iterator[Section]:
    """They build beside the first sections, and are timed one at a time, each at its turn."""
    for peer, batch in DRY_PEERS if p.dry else PEERS:
        name = f"{peer}-{batch}"
        left = p.part(f"{name}.json")
        limit = ("--compile-seconds", str(BUILD), "--wait")
        command = p.dryable("peers", peer, str(batch), p.records, left, *limit)
        yield Section(name, 30, (command,), needs=("gpu", "timm"), times=True, leaves=(left,),
                      begins_with="warm", build=BUILD, env={"OMP_NUM_THREADS": "4"})  # fmt: skip


def steps(p: Place) -> Section:
    command = timed(p, "float16", "--steps", "--backend", "triton", "--batch", "256", "1", rounds=3,
                    seconds=0.02)  # fmt: skip
    return Section("steps", 90, (command,), needs=("gpu",), times=True)


def everything(p: Place) -> Iterator[Section]:
    """Right in everything? The tests of a GPU, and beside them the full self-test."""
    tests = p.root / "tests"
    files = [f for f in sorted(tests.rglob("test_*.py")) if "mark.gpu" in f.read_text("utf-8")]
    many = ("-n", str(WORKERS)) if find_spec("xdist") and not p.dry else ()
    words = ("-q", "--tb=short", "--maxfail=12", "--durations=5", "-p", "no:cacheprovider")
    pytest = (p.python, "-m", "pytest", "-m", "gpu and not slow", *many, *words, *map(str, files))
    yield Section("pytest", 150, (pytest,), env={"OMP_NUM_THREADS": "3"}, needs=("gpu", "pytest"))
    # what the sanitizers look at, compiled before: under them it would take too long
    yield Section("forward", 30, (p.dryable("single", "forward"),), needs=("gpu",),
                  env=interpreted(p), begins_with="pytest")  # fmt: skip
    left = p.part("selftest.json")
    quick = ("--quick",) if p.dry else ()
    yield Section("selftest", 30, (p.r2n("selftest", *quick, "--json", left),), needs=("gpu",),
                  env={"OMP_NUM_THREADS": "2", **interpreted(p)}, begins_with="pytest",
                  leaves=(left,))  # fmt: skip


def ncu(p: Place) -> Section:
    command = p.dryable("counters", p.part(""))
    return Section("ncu", 70, (command,), needs=("gpu", "ncu"), env=interpreted(p))


def sanitizers(p: Place) -> Iterator[Section]:
    """Each memory access, and each pair of them, of a small forward."""
    forward = p.dryable("single", "forward")
    for tool in ("memcheck", "racecheck"):
        check = ("compute-sanitizer", "--tool", tool, *SANITIZER)
        yield Section(tool, 60, ((*(() if p.dry else check), *forward),),
                      needs=("gpu", "compute-sanitizer"),
                      env={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", **interpreted(p)})  # fmt: skip


def interpreted(p: Place) -> dict[str, str]:
    return {"TRITON_INTERPRET": "1"} if p.dry else {}
