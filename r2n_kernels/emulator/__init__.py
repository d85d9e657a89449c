"""The emulator executes compiled Triton kernels on the CPU: numbers, races, bounds, exact counters.

The PTX that Triton emits runs on numpy: whole CTAs, several side by side, warps in lockstep or in
an order that looks for trouble. It knows nothing of Res2Net and needs only numpy.

    from r2n_kernels.emulator import emulator
    with emulator(arch=90) as emu:                         # host code as it stands, on CPU tensors
        kernel[grid](x, y, n, BLOCK=128)
    emu.launches[-1].counters

    from r2n_kernels.emulator import Kernel
    kernel = Kernel(ptx, shared_bytes, num_warps)          # or .triton.compile_kernel(...)
    counters = kernel.run((grid,), [tensors and numbers])  # tensors change in place

Targets: sm_80, 86, 89, 90, 100, 120. An instruction outside the subset is refused by name. The
README has what is checked and which kernels run. Not modelled: im2col mode of TMA, sparse
products, bank conflicts of wgmma, tcgen05 and TMA, wgmma.fence, tcgen05.dealloc, how many CTAs a
device holds at once (those that others wait for always come), `.ftz` and `.approx` (full precision,
denormals kept). Lanes of a warp may part: each part counts as a warp in the counters of
instructions. Products add up in float32 in numpy's order, so last bits depend on the schedule.

A strict run raises at the first race, of the lanes, warps and CTAs of a launch: two accesses of one
place, one of them writing and one of them no atomic, that no barrier and no acquire of a release
orders. What never races: replicas (one instruction's values that differ by rounding), loads that
nothing their warp does depends on, one value written twice. A race can still escape where
  - the order that was run had a release reach an acquire that another order would not have;
  - lanes of one warp write what others of it have read, or read what others changed atomically;
    they also acquire and release as if they were one thread;
  - replicas are none: floating-point values of one store are within 2^-16 of each other (2^-8 in
    fp16, 2^-6 in bf16), or lanes would compute the same in double precision;
  - the clocks of what several CTAs read, in a kernel that synchronises, take more than 256 MB.
Whether global memory was ever written is known of arguments that `run(..., empty=...)` names.
"""

from . import ops  # noqa: F401  registers the instructions
from .batch import SCHEDULES
from .counters import Counters, GlobalTraffic, SharedTraffic, merge
from .errors import ADVISORY, ArgumentError, EmulationError, Report, UnsupportedError
from .host import Emulation, LaunchRecord, emulator
from .kernel import Kernel
from .mutate import Mutant, mutants
from .report import Section, page, report

__all__ = [
    "ADVISORY",
    "SCHEDULES",
    "ArgumentError",
    "Counters",
    "Emulation",
    "EmulationError",
    "GlobalTraffic",
    "Kernel",
    "LaunchRecord",
    "Mutant",
    "Report",
    "Section",
    "SharedTraffic",
    "UnsupportedError",
    "emulator",
    "merge",
    "mutants",
    "page",
    "report",
]
