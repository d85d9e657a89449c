"""The emulator executes compiled Triton kernels on the CPU: numbers, races, bounds, exact counters.

The PTX that Triton emits runs on numpy: whole CTAs, several side by side, warps in lockstep or in
an order that looks for trouble. It knows nothing of Res2Net and needs only numpy.

    from r2n_kernels.emulator import Kernel
    kernel = Kernel(ptx, shared_bytes, num_warps)          # or emulator.triton.compile_kernel(...)
    counters = kernel.run((grid,), [tensors and numbers])  # tensors change in place

Targets: sm_80, 86, 89, 90, 100, 120; products of fp16, bf16, tf32 and int8. An instruction outside
the subset is refused by name. Not modelled: TMA and bulk copies, clusters, fp8, bank conflicts of
wgmma and tcgen05 operands, races of atomics, wgmma.fence, how many CTAs a device holds at once
(those that others wait for always come), `.ftz` and `.approx` (full precision, denormals kept).
Lanes of a warp may part: each part counts as a warp in the counters of instructions.
Products add up in float32 in numpy's order, so their last bits depend on the schedule.
"""

from . import ops  # noqa: F401  registers the instructions
from .batch import SCHEDULES
from .counters import Counters, GlobalTraffic, SharedTraffic, merge
from .errors import ADVISORY, EmulationError, Report, UnsupportedError
from .kernel import Kernel
from .mutate import Mutant, mutants

__all__ = [
    "ADVISORY",
    "SCHEDULES",
    "Counters",
    "EmulationError",
    "GlobalTraffic",
    "Kernel",
    "Mutant",
    "Report",
    "SharedTraffic",
    "UnsupportedError",
    "merge",
    "mutants",
]
