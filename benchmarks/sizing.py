"""A billion images are sized on paper: GPU hours, cores that decode, bandwidth of storage.

GPU rates are predicted by `roofline`, decoding was measured, and what a machine has beside each GPU
is assumed. `python -m r2n_kernels.benchmarks.sizing` prints the tables of docs/sizing.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..config import HEADLINE, VARIANTS
from .devices import DEVICES, Device
from .roofline import predict

IMAGES = 1_000_000_000
BATCH = 256
CORES = 16  # beside each GPU, assumed: clouds rent 12 to 32
STORAGE = 2e9  # bytes per second beside each GPU, assumed: a good half of a 25 Gbit/s link
GPUS = ("A100-SXM-80GB", "H100-SXM", "B200", "RTX-4090")
TITLES = (
    "GPU", "img/s, predicted", "GPU hours", "cores per GPU", "GB/s per GPU",
    f"hours with {CORES} cores", "what waits for what",
)  # fmt: skip


@dataclass(frozen=True)
class Photos:
    """Photos are images of one kind. seconds: of the CPU to decode, resize and crop one."""

    name: str
    bytes: int
    seconds: float


# Measured on 2026-11-28 on one core of an AMD EPYC (family 25, model 17) with one thread: CPU time,
# the best of seven runs, of JPEGs of quality 90 made of scikit-learn's china.jpg in these sizes.
MEASURED = (
    Photos("500x375", 65_208, 2.20e-3),
    Photos("4032x3024", 1_415_302, 125.88e-3),
)


@dataclass(frozen=True)
class Size:
    """A Size is what a GPU needs beside it, and how far it gets with what is assumed."""

    photos: Photos
    rate: float  # of the GPU, images per second

    @property
    def cores(self) -> float:
        """Return how many cores decode as fast as the GPU computes."""
        return self.rate * self.photos.seconds

    @property
    def bandwidth(self) -> float:
        """Return bytes per second that the GPU's images have."""
        return self.rate * self.photos.bytes

    @property
    def rates(self) -> dict[str, float]:
        """Return images per second of each part: the smallest is the bottleneck."""
        return {
            "GPU": self.rate,
            "decoding": CORES / self.photos.seconds,
            "storage": STORAGE / self.photos.bytes,
        }

    @property
    def bottleneck(self) -> str:
        """Return the part that the others wait for."""
        return min(self.rates, key=self.rates.__getitem__)

    @property
    def hours(self) -> float:
        """Return hours of one GPU, and what is beside it, for all images."""
        return hours(min(self.rates.values()))


def hours(rate: float) -> float:
    return IMAGES / rate / 3600


def sizes(photos: Photos, device: Device) -> tuple[Size, Size]:
    """Return what the low and the high end of the prediction need."""
    rates = predict("r2n_kernels", VARIANTS[HEADLINE], BATCH, 224, 224, device).rates
    return Size(photos, rates[0]), Size(photos, rates[1])


def row(photos: Photos, device: Device) -> list[str]:
    """Return texts in the order of TITLES."""
    low, high = sizes(photos, device)
    names = dict.fromkeys((low.bottleneck, high.bottleneck))
    return [
        device.name,
        _span(low.rate, high.rate),
        _span(hours(high.rate), hours(low.rate)),
        _span(low.cores, high.cores),
        _span(low.bandwidth / 1e9, high.bandwidth / 1e9, ".1f"),
        _span(high.hours, low.hours),
        " or ".join("nothing waits long" if n == "GPU" else f"the GPU for {n}" for n in names),
    ]


def _span(low: float, high: float, form: str = ",.0f") -> str:
    """Return both ends to three digits, or one where they read alike."""
    return "-".join(dict.fromkeys(format(float(f"{end:.3g}"), form) for end in (low, high)))


def tables() -> Iterator[str]:
    """Yield the lines of a Markdown table for each kind of photos."""
    for photos in MEASURED:
        each, total = f"{photos.seconds * 1e3:.2f} ms", photos.seconds * IMAGES / 3600
        yield f"**{photos.name}, {photos.bytes / 1e3:,.0f} KB**, {each} of one core (measured):"
        yield f"{total:,.0f} core hours, {photos.bytes * IMAGES / 1e12:,.0f} TB to read.\n"
        yield f"| {' | '.join(TITLES)} |"
        yield "|---" * len(TITLES) + "|"
        yield from (f"| {' | '.join(row(photos, DEVICES[name]))} |" for name in GPUS)
        yield ""


if __name__ == "__main__":
    print("\n".join(tables()))
