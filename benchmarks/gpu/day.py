"""This file lists sections, most important first: what each runs and needs, and its time limit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

from .place import Place
from .section import Command, Section

HEADLINE = "res2net101_26w_4s"
TINY = "res2net50_48w_2s"  # of a dry run
PEERS = tuple((peer, n) for peer in ("timm-compile", "timm-compile-graph") for n in (256, 1))
DRY_PEERS = (("timm-compile", 1),)  # the other is for GPUs alone
BUILD = 200  # seconds that torch.compile may take, beside other sections
DRY_TIMES = 4
WORKERS = 10  # of pytest: each has a CUDA context
GPU = ("gpu",)
ALL = "--backend triton torch --batch 1 8 32 256"


def sections(place: Place) -> tuple[Section, ...]:
    listed = (
        *prepare(place),
        selftest_quick(place),
        measured(place, "probe", 60, place.dryable("probe", place.part("probe.json"))),
        candidates(place),
        bench(place, "bench", 110, "float16", f"{ALL} {bundle(place)}", 5),
        *peers(place),
        bench(place, "steps", 90, "float16", "--backend triton --steps --batch 256 1", 3, 0.02),
        *everything(place),
        Section("ncu", 70, (place.dryable("counters", place.folder.parts),), needs=("gpu", "ncu"),
                env=interpreted(place)),
        bench(place, "bench_bf16", 45, "bfloat16", "--backend triton --batch 1 256", 3),
        *sanitizers(place),
    )  # fmt: skip
    return tuple(map(on_cpu, listed)) if place.dry else listed


def on_cpu(section: Section) -> Section:
    """Drop the need of a GPU and its tools, and give time on a few busy cores."""
    return replace(section, needs=(), seconds=DRY_TIMES * section.seconds)


def interpreted(p: Place) -> dict[str, str]:
    return {"TRITON_INTERPRET": "1"} if p.dry else {}


def measured(p: Place, name: str, seconds: float, *commands: Command,
             needs: tuple[str, ...] = GPU) -> Section:  # fmt: skip
    """Make a section whose last command times something, and leaves NAME.json."""
    left = (p.part(f"{name}.json"),)
    return Section(name, seconds, commands, needs=needs, times=True, leaves=left)


def prepare(p: Place) -> Iterator[Section]:
    links = ("--links",) if p.links else ()
    install = p.script("install.py", p.root, p.scratch / "site", *links)
    yield Section("install", 60, (install,), setup=True)
    left = p.environment
    yield Section("environment", 40, (p.module("environment", left),), setup=True, leaves=(left,))
    what = "--dtype float16 bfloat16 --batch 1 8 32 256 --selftest"
    yield Section("warm", 100, (warm(p, what),), env={"OMP_NUM_THREADS": "1"}, needs=GPU)


def warm(p: Place, what: str) -> Command:
    """Compile many kernels at once: just in time they compile one after the other."""
    model, size = HEADLINE, "224"
    if p.dry:
        model, size, what = TINY, "32", "--dtype float16 --batch 1 --target sm_90"
    return p.r2n("warm", "--model", model, "--size", size, *what.split(), "--jobs", str(p.jobs))


def selftest_quick(p: Place) -> Section:
    """Test all kernels; where that fails, again with CUDA's assembler instead of Triton's."""
    left = p.part("selftest_quick.json")
    quick = p.r2n("selftest", "--quick", "--json", left)
    section = Section("selftest_quick", 90, (quick,), needs=GPU, leaves=(left,), env=interpreted(p))
    ptxas = shutil.which("ptxas", path=p.path)
    if ptxas is None or p.dry:
        return section
    some = warm(p, "--dtype float16 --batch 1 --selftest")  # it is other code
    again = replace(section, name="selftest_ptxas", seconds=120, commands=(some, quick),
                    env={"TRITON_PTXAS_PATH": ptxas})  # fmt: skip
    return replace(section, otherwise=again)


def candidates(p: Place) -> Section:
    """Time candidates that were compiled elsewhere; a dry run compiles one here and emulates it."""
    left = p.part("candidates.json")
    if p.dry:  # of sm_80: its code is right by older Tritons too
        one, made = ("--arch", "80", "--only", "conv1 128x64x64 w4 s4"), p.scratch / "candidates"
        commands = [p.module("candidates.make", made, *one),
                    p.module("candidates.measure", made, left, "--emulate")]  # fmt: skip
    else:
        commands = [p.module("candidates.measure", p.candidates, left)]
    needs = ("gpu", "candidates", "cuda-bindings")
    return measured(p, "candidates", 60, *commands, needs=needs)


def bench(
    p: Place, name: str, limit: float, dtype: str, what: str, rounds: int, seconds: float = 0.1
) -> Section:
    """Run r2n bench, on the GPU or tiny on the CPU. Without timm its peer is the reference."""
    case = f"--device cuda --dtype {dtype} {what}"
    if p.dry:
        steps = "--steps" if "--steps" in what else ""
        alone = "--dtype bfloat16 --peers none" if dtype == "bfloat16" else ""
        case, rounds, seconds = f"--model {TINY} --size 32 {steps} {alone} --batch 1", 2, 0.001
    often = ("--rounds", str(rounds), "--seconds", str(seconds), "--record", p.folder.records)
    return Section(name, limit, (p.r2n("bench", *case.split(), *often),), needs=GPU, times=True)


def bundle(p: Place) -> str:
    """Return the words that time the bundle, if one was carried."""
    return f"--bundle {p.bundle}" if p.bundle.is_file() and not p.dry else ""


def peers(p: Place) -> Iterator[Section]:
    """Build the peers beside the first sections, and time each at its turn."""
    for peer, batch in DRY_PEERS if p.dry else PEERS:
        name = f"{peer}-{batch}"
        files = p.folder.records, p.part(f"{name}.json")
        limit = ("--compile-seconds", str(BUILD), "--wait")
        section = measured(p, name, 30, p.dryable("peers", peer, str(batch), *files, *limit),
                           needs=("gpu", "timm"))  # fmt: skip
        yield replace(section, begins_with="warm", build=BUILD, env={"OMP_NUM_THREADS": "4"})


def everything(p: Place) -> Iterator[Section]:
    """Run the tests of a GPU, and beside them the full self-test."""
    tests = p.root / "tests"
    files = [f for f in sorted(tests.rglob("test_*.py")) if "mark.gpu" in f.read_text("utf-8")]
    many = ("-n", str(WORKERS)) if find_spec("xdist") and not p.dry else ()
    words = ("-q", "--tb=short", "--maxfail=12", "--durations=5", "-p", "no:cacheprovider")
    pytest = (p.python, "-m", "pytest", "-m", "gpu and not slow", *many, *words, *map(str, files))
    yield Section("pytest", 150, (pytest,), env={"OMP_NUM_THREADS": "3"}, needs=("gpu", "pytest"))
    # what the sanitizers look at, compiled before: under them it would take too long
    yield Section("forward", 30, (p.dryable("single", "forward"),), needs=GPU,
                  env=interpreted(p), begins_with="pytest")  # fmt: skip
    left = p.part("selftest.json")
    quick = ("--quick",) if p.dry else ()
    yield Section("selftest", 30, (p.r2n("selftest", *quick, "--json", left),), needs=GPU,
                  env={"OMP_NUM_THREADS": "2", **interpreted(p)}, begins_with="pytest",
                  leaves=(left,))  # fmt: skip


def sanitizers(p: Place) -> Iterator[Section]:
    """Check each memory access, and each pair of them, of a small forward."""
    forward = p.dryable("single", "forward")
    env = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", **interpreted(p)}
    for tool in ("memcheck", "racecheck"):
        check = f"compute-sanitizer --tool {tool} --print-limit 20 --error-exitcode 9".split()
        command = forward if p.dry else (*check, *forward)
        yield Section(tool, 60, (command,), needs=("gpu", "compute-sanitizer"), env=env)
