"""The emulator executes compiled Triton kernels on the CPU: numbers, races, bounds, exact counters.

The PTX that Triton emits runs on numpy: whole CTAs, several side by side, warps in lockstep or in
an order that looks for trouble. It knows nothing of Res2Net and needs only numpy.

    from r2n_kernels.emulator import Kernel
    kernel = Kernel(ptx, shared_bytes, num_warps)          # or emulator.triton.compile_kernel(...)
    counters = kernel.run((grid,), [tensors and numbers])  # tensors change in place

Targets: sm_80, 86, 89, 90, 100, 120; products of fp16, bf16, tf32, int8, fp8, fp6 and fp4, scaled
by blocks too; TMA; clusters. An instruction outside the subset is refused by name. Not modelled:
im2col mode of TMA, sparse products, bank conflicts of wgmma, tcgen05 and TMA, wgmma.fence, `.ftz`
and `.approx` (full precision, denormals kept). Products add up in float32 in numpy's order, so
their last bits depend on the schedule.
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
