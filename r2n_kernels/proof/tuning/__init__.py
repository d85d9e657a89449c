"""`r2n tune`: tiles that were measured to be faster than the rules', by geometry.

`search` knows neither kernels nor clocks, `measure` what a tile costs in a network, `timer` the
GPU's clock. Imports Triton, which `import r2n_kernels` does not.
"""

from __future__ import annotations

from .measure import Measurement, Network, tune
from .search import climb, neighbours
from .timer import gpu_timer

__all__ = ["Measurement", "Network", "climb", "gpu_timer", "neighbours", "tune"]
