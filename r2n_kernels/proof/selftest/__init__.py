"""`r2n selftest`: does every kernel compute the right thing on this machine?

Each file holds some of the checks; `checks` lists them, `report` runs and shows them. Imports
Triton, which `import r2n_kernels` does not.
"""

from __future__ import annotations

from ...measure.machine import describe_environment
from .checks import list_checks
from .report import Check, Outcome, Result, run_checks
from .setup import Case, Setup, default_setup, full_setup

__all__ = [
    "Case",
    "Check",
    "Outcome",
    "Result",
    "Setup",
    "default_setup",
    "describe_environment",
    "full_setup",
    "list_checks",
    "run_checks",
]
