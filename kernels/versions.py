"""Kernels run on these Tritons, of which older ones leave something out of the code."""

from __future__ import annotations

import re

import triton

from .targets import Target, without_gluon

OLDEST = (3, 4)  # 3.3 takes minutes for a network on sm_90; 3.2 has another interface
# Triton pull requests 9610 and 10537: from here on there is a fence between cp.async, which writes
# shared memory through one proxy, and wgmma or tcgen05.mma, which read it through another
FENCED = (3, 7, 1)
GLUON = (3, 8)  # its Gluon gathers from shared memory, and scatters to it


def triton_version() -> tuple[int, ...]:
    """Return the numbers of the installed Triton: "3.6.0+git1" -> (3, 6, 0)."""
    return tuple(map(int, re.findall(r"\d+", triton.__version__.partition("+")[0])[:3]))


def require_triton() -> None:
    """Raise ImportError where the installed Triton is too old for the kernels."""
    if triton_version() < OLDEST:
        raise ImportError(
            f"the kernels need Triton {_text(OLDEST)} or newer (torch 2.8 brings it), "
            f"found {triton.__version__}"
        )


def served(target: Target) -> Target:
    """Return the target as the installed Triton can compile for it."""
    missing = missing_gluon()
    return without_gluon(target, missing) if missing else target


def missing_gluon() -> str:
    """Say what this Triton's Gluon lacks; empty where nothing is missing."""
    if triton_version() >= GLUON:
        return ""
    return f"Triton {triton.__version__} has no gather of shared memory, {_text(GLUON)} has it"


def missing_fence(target: Target) -> str:
    """Say what this Triton leaves out for a target; empty where nothing is missing.

    PTX calls such a read undefined. Where it was noticed, in Triton 3.7.0 on B200, results changed
    from run to run (PyTorch issue 181248); on H100 none is known to be wrong.
    """
    if not target.async_products or triton_version() >= FENCED:
        return ""
    return (
        f"Triton {triton.__version__} leaves out fence.proxy.async between cp.async and the matrix "
        f"instructions of {target.name}, so that PTX does not define their results; "
        f"Triton {_text(FENCED)} has it"
    )


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
