"""One instance compiled, in a worker process that has the real kernels and no GPU."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from .facts import Facts, amd_facts, nvidia_facts
from .instances import Instance

TEXTS = ("ttir", "ttgir", "llir", "ptx", "sass", "amdgcn")


@dataclass(frozen=True)
class Compiled:
    """`texts` by kind (see TEXTS); those that the target has. `seconds`: of the compilation."""

    facts: Facts
    texts: dict[str, str]
    seconds: float


def compile_instance(instance: Instance) -> Compiled:
    """Raises whatever Triton, LLVM or ptxas raise."""
    import time

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ..kernels.call import triton_options
    from ..kernels.targets import TARGETS
    from .sass import disassemble

    start = time.perf_counter()
    target = TARGETS[instance.target]
    kernel = getattr(importlib.import_module(instance.module), instance.function)
    attrs = {place: [list(pair) for pair in pairs] for place, pairs in instance.attrs}
    source = ASTSource(kernel, dict(instance.signature), dict(instance.constants), attrs)
    made = triton.compile(
        source,
        target=GPUTarget(target.backend, target.arch, target.warp_size),
        options=triton_options(instance.warps, instance.registers),
    )
    texts = {kind: made.asm[kind] for kind in TEXTS if kind in made.asm}
    if target.backend == "cuda":
        texts["sass"], usage = disassemble(made.asm["cubin"])
        facts = nvidia_facts(texts["ptx"], texts["sass"], usage, made.metadata.shared)
    else:
        facts = amd_facts(texts["amdgcn"], made.metadata.shared)
    return Compiled(facts, texts, time.perf_counter() - start)
