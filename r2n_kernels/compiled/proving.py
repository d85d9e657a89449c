"""A bundle's proof runs each piece of its code in the emulator, and whole networks by it.

It covers the very bytes that are loaded, and needs neither a GPU nor Triton.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bundle import Bundle, open_bundle
from ..bundle.file import PROOF, packed_text
from ..bundle.manifest import Code, Shape
from ..bundle.ops import Kernel, StoredCall
from ..emulator import Counters, merge
from ..emulator import Kernel as Translated
from ..engine.kernel_backend import pack
from ..errors import BundleError, KernelError
from ..fold.triton_layout import PackedConv
from ..kernels.call import launch
from ..proof.chain import outputs_of, twin_verdicts
from ..proof.parity import compared, named
from ..proof.steps import CPU, StepCase, cases
from ..proof.tolerance import Verdict, worst
from ..reference import Res2Net, randomize
from ..version import __version__
from .launcher import translate
from .network import BundlePtxBackend
from .parallel import emulated
from .pool import Pool
from .run import RunResult

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Task:
    """A Task runs a step of a shape's proof plan, for these codes of it. content: of the bundle."""

    path: str
    content: str
    shape: Shape
    step: str
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Proven:
    """Proven is the result of one task; without a result, error says why."""

    task: Task
    result: RunResult | None
    error: str = ""

    @property
    def name(self) -> str:
        return f"{self.task.shape} {self.task.step}"

    @property
    def faults(self) -> tuple[str, ...]:
        return (self.error,) if self.result is None else self.result.faults

    def encode(self) -> dict[str, Any]:
        """Return it as the report has it."""
        found: dict[str, Any] = {"step": self.task.step, "shape": str(self.task.shape)}
        if self.result is not None:
            found |= _figures(self.result.verdict)
        return found | {"faults": list(self.faults)}


@dataclass(frozen=True)
class Network:
    """A Network has verdicts of a whole pass; without any, error says why.

    against: "reference", or "twins" of the packed weights.
    """

    shape: Shape
    images: int
    against: str
    verdicts: tuple[Verdict, ...]
    error: str = ""

    @property
    def name(self) -> str:
        return f"{self.shape.target} network"

    @property
    def faults(self) -> tuple[str, ...]:
        if self.error:
            return (self.error,)
        return tuple(f"{v.name}: error {v.error:.1e}" for v in self.verdicts if not v.passed)


@dataclass(frozen=True)
class Proof:
    """A Proof is what was found of each code, and of a network for each target."""

    content: str
    proven: tuple[Proven, ...]
    networks: tuple[Network, ...]

    @property
    def parts(self) -> tuple[Proven | Network, ...]:
        return (*self.proven, *self.networks)

    @property
    def kernels(self) -> list[str]:
        """Return the keys of the codes."""
        return [key for one in self.proven for key in one.task.codes]

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(fault for one in self.parts for fault in one.faults)

    def encode(self) -> dict[str, Any]:
        """Return the report, as a bundle keeps it."""
        return {
            "content": self.content,
            "passed": not self.faults,
            "made_with": {
                "r2n_kernels": __version__, "numpy": np.__version__, "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "codes": {key: one.encode() for one in self.proven for key in one.task.codes},
            "networks": [
                {"shape": str(n.shape), "images": n.images, "against": n.against,
                 "outputs": {v.name: _figures(v) for v in n.verdicts}, "faults": list(n.faults)}
                for n in self.networks
            ],
        }  # fmt: skip


def _figures(verdict: Verdict) -> dict[str, float]:
    return {"error": float(f"{verdict.error:.2e}"), "limit": float(f"{verdict.limit:.2e}")}


def prove(
    path: str | os.PathLike, pool: Pool, state: State | None = None, *,
    started: Callable[[int], None] = lambda total: None, done: Callable[[], None] = lambda: None,
) -> Proof:  # fmt: skip
    """Run all code that a bundle's plans launch, and a network for each of its targets.

    Tiles to try are no part of it: `r2n tune` holds each to its twin before it is timed.
    state: the canonical weights of which the bundle's were packed: the network is then held to the
    reference. Without them a bundle with weights is held to the twins of its own, one without to a
    reference with random weights. started(total) and done() tell progress. Raises BundleError.
    """
    bundle = open_bundle(path)
    bundle.file.check()
    work = list(tasks(bundle))
    started(len(work) + len(bundle.manifest.targets))
    answers = {}
    for task, answer in pool.map(run_task, work):
        failed = isinstance(answer, KernelError)
        answers[task] = Proven(task, None, str(answer)) if failed else Proven(task, answer)
        done()
    networks = []
    for target in bundle.manifest.targets:
        networks.append(run_network(bundle, target, state, pool))
        done()
    proven = tuple(answers[task] for task in work)
    return Proof(bundle.file.content(), proven, tuple(networks))


def write(path: str | os.PathLike, proof: Proof) -> None:
    """Put the report into the bundle that it describes, in place of an older one."""
    file = _of_content(open_bundle(path), proof.content).file
    file.rewritten({PROOF: packed_text(json.dumps(proof.encode(), sort_keys=True))})


def tasks(bundle: Bundle) -> Iterator[Task]:
    """Yield steps that run each of the bundle's codes once or more, smaller shapes first."""
    seen: set[Code] = set()
    for shape in bundle.manifest.shapes:
        if bundle.plan(shape).codes.keys() != bundle.plan(shape, proof=True).codes.keys():
            raise BundleError(f"{bundle}: what would prove {shape} runs other code than it does")
    path, content = str(Path(bundle.file.path).resolve()), bundle.file.content()
    for shape in sorted(bundle.manifest.shapes):
        steps: dict[str, list[str]] = {}
        for code, step in bundle.plan(shape, proof=True).codes.items():
            if code not in seen:
                steps.setdefault(step, []).append(code.key)
                seen.add(code)
        for step, codes in steps.items():
            yield Task(path, content, shape, step, tuple(codes))


class EmulatedKernel(Kernel):
    """The emulator runs a bundle's code with race and bounds checks; this keeps the counters."""

    def __init__(self, code: Code, bundle: Bundle, found: list[Counters]) -> None:
        super().__init__(code)
        self._bundle, self._found = bundle, found

    @cached_property
    def _translated(self) -> Translated:
        return translate(emulated(self.code, self._bundle))

    def load(self) -> None:
        _ = self._translated

    def launch(self, call: StoredCall) -> None:
        self._found.append(self._translated.run((call.grid,), call.arguments, strict=False))


@lru_cache(maxsize=1)
def _opened(path: str, content: str) -> Bundle:
    """Open once per worker. content: so that a bundle that was written anew is opened anew."""
    return _of_content(open_bundle(path), content)


def _of_content(bundle: Bundle, content: str) -> Bundle:
    """Return the bundle. Raises BundleError where somebody has put another in its place."""
    if bundle.file.content() != content:
        raise BundleError(f"{bundle} was replaced while it was proven")
    return bundle


def run_task(task: Task) -> RunResult:
    """Run the step in this worker, the first one in each form of input. Raises EmulationError."""
    bundle, start = _opened(task.path, task.content), time.perf_counter()
    stored, found = bundle.plan(task.shape, proof=True), list[Counters]()
    ops = stored.ops(cache(lambda code: EmulatedKernel(code, bundle, found)))
    (case,) = cases(stored.plan, only=lambda step: step.name == task.step, ops=ops)
    verdict = worst(one.verdict(launch) for one in _forms(case))
    counters = merge(found)
    reports = tuple(dict.fromkeys(map(str, counters.reports)))
    ctas = sum(call.grid for call in case.bound.calls())
    return RunResult(
        verdict, counters, reports, dict(counters.report_counts), stored.plan.batch, ctas,
        time.perf_counter() - start,
    )  # fmt: skip


def _forms(case: StepCase) -> Iterator[StepCase]:
    """Yield the case, and where it reads the input also one in each other form that has code."""
    yield case
    if "input" not in case.step.reads:
        return
    x = case.buffers["input"]
    by_pixel = x.to(memory_format=torch.channels_last)
    yield dataclasses.replace(case, buffers={**case.buffers, "input": by_pixel})
    generator = torch.Generator().manual_seed(0)
    n, ci, h, w = x.shape
    pixels = torch.randint(0, 256, (n, h, w, ci), dtype=torch.uint8, generator=generator)
    scale, shift = (torch.rand(ci, generator=generator) / 64 for _ in range(2))
    yield dataclasses.replace(
        case,
        buffers={**case.buffers, "input": pixels.permute(0, 3, 1, 2), "scale": scale,
                 "shift": shift},
    )  # fmt: skip


def run_network(bundle: Bundle, target: str, state: State | None, pool: Pool) -> Network:
    """Hold a pass of the bundle's code, on few images of its smallest shape, to PyTorch."""
    manifest = bundle.manifest
    shape = min(shape for shape in manifest.shapes if shape.target == target)
    if manifest.weights is None:
        state = randomize(Res2Net(manifest.config).eval()).state_dict()
        packed: Mapping[str, PackedConv] = pack(manifest.config, state, manifest.dtype)[1]
    else:
        packed = bundle.weights()
    backend = BundlePtxBackend(bundle, packed, CPU, f"ptx:{target}", pool)
    plan = backend.stored.proof_plan(shape)
    n, h, w = plan.batch, plan.height, plan.width
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, manifest.config.in_chans, h, w, generator=generator).to(manifest.dtype)
    against = "twins" if state is None else "reference"
    try:
        backend.prepare(plan, x)
        *maps, embedding, logits = backend.run(plan, x, outputs_of(plan))
    except KernelError as error:
        return Network(shape, n, against, (), str(error))
    ours = named(maps, embedding, logits)
    if state is None:
        ops = bundle.plan(shape, proof=True).ops(Kernel)
        rows = twin_verdicts(ours, plan, x, packed, ops)
    else:
        reference = Res2Net(manifest.config).eval()
        reference.load_state_dict(dict(state))
        rows = [row.verdict for row in compared(ours, reference, x, manifest.dtype)]
    return Network(shape, n, against, tuple(rows))
