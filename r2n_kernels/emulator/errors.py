"""An error says what went wrong: the kernel did something illegal, or something not emulated."""

from __future__ import annotations

from dataclasses import dataclass

# Kinds of findings that raise nothing in a strict run, as every outcome can be the right one
ADVISORY = ("cross-cta", "mixed", "serialized")


class EmulationError(Exception):
    """The kernel did something illegal; the message says what and where."""


class ArgumentError(EmulationError, ValueError):
    """A launch was given what the kernel does not take; the message says what it takes."""


class UnsupportedError(EmulationError):
    """An instruction, or a form of one, is outside the emulated subset; the message names it."""


@dataclass(frozen=True)
class Report:
    """A Report is one finding.

    kind: race, proxy, bounds, alignment or uninitialised; advisory: cross-cta (two CTAs of a launch
    write the same value to one place), mixed (a warp reads what another one of its CTA changes by
    an atomic, and nothing orders the two), serialized (registers of an asynchronous operation are
    touched before it was waited for, where ptxas makes them wait: wgmma).
    """

    kind: str
    text: str
    cta: tuple[int, int, int]
    warp: int | None  # None: the tensor core (tcgen05) or TMA
    lane: int
    instruction: str
    source: str  # "stage.py:47", or "device.py:85 from stage.py:47" where it was inlined

    def __str__(self) -> str:
        who = f"warp {self.warp}, lane {self.lane}"
        if self.warp is None:
            who = "TMA" if "cp.async" in self.instruction else "tensor core"
        return (
            f"[{self.kind}] {self.source}: {self.text} | CTA {self.cta}, {who} | {self.instruction}"
        )
