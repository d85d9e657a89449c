"""Run unchanged host code: Triton's launches go to the emulator while a context is open."""

from .context import Emulation, LaunchRecord, emulator

__all__ = ["Emulation", "LaunchRecord", "emulator"]
