"""This file has the devices that are emulated: what host code asks a GPU for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GIB = 1 << 30
REGISTERS = 65536  # of an SM, and of a CTA at most


@dataclass(frozen=True)
class Device:
    """A Device is a GPU of an architecture, as host code sees one."""

    arch: int
    chip: str  # whose figures these are
    sms: int
    shared: int  # bytes that one CTA can have
    shared_per_sm: int
    threads_per_sm: int
    memory: int
    l2: int

    @property
    def capability(self) -> tuple[int, int]:
        return divmod(self.arch, 10)

    @property
    def name(self) -> str:
        return f"NVIDIA {self.chip} (emulated)"

    def properties(self) -> dict[str, Any]:
        """Return what Triton's driver tells. Clocks are 1 kHz: nothing is timed here."""
        return {
            "max_shared_mem": self.shared, "max_num_regs": REGISTERS, "warpSize": 32,
            "multiprocessor_count": self.sms, "sm_clock_rate": 1, "mem_clock_rate": 1,
            "mem_bus_width": 8, "max_threads_per_sm": self.threads_per_sm,
        }  # fmt: skip


DEVICES = {
    device.arch: device
    for device in (
        Device(80, "A100", 108, 166912, 167936, 2048, 80 * GIB, 40 << 20),
        Device(86, "RTX 3090", 82, 101376, 102400, 1536, 24 * GIB, 6 << 20),
        Device(89, "RTX 4090", 128, 101376, 102400, 1536, 24 * GIB, 72 << 20),
        Device(90, "H100", 132, 232448, 233472, 2048, 80 * GIB, 50 << 20),
        Device(100, "B200", 148, 232448, 233472, 2048, 180 * GIB, 126 << 20),
        Device(120, "RTX 5090", 170, 101376, 102400, 1536, 32 * GIB, 96 << 20),
    )
}


def device_of(arch: int | str) -> Device:
    """Return the device of 90, "90", "sm_90" or "sm_90a". Raises ValueError."""
    text = str(arch).removeprefix("sm_").rstrip("af")
    if isinstance(arch, bool) or not text.isdecimal() or int(text) not in DEVICES:
        names = ", ".join(f"sm_{known}" for known in DEVICES)
        raise ValueError(f"unknown architecture {arch!r}; expected one of {names}")
    return DEVICES[int(text)]
