"""These options are a server's, beside those of its model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError

MB = 10**6


@dataclass(frozen=True)
class Options:
    """Options say where a server listens, what it takes, and how long anything may wait.

    max_pixels: that an image may claim to have. image_seconds: that its decoder may take.
    max_waiting: requests that may be under way; one more is refused with 503. None: eight batches
    for each worker. threads: of the CPU, for each worker; None: its share of the cores.
    request_seconds: for a request to arrive, 408 after that, and in the queue, 504 after that.
    stop_seconds: for answers, once told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 32
    timeout_ms: float = 5.0
    topk: int = 5
    max_bytes: int = 20 * MB
    max_pixels: int = 50_000_000
    image_seconds: float = 2.0
    max_waiting: int | None = None
    workers: int = 1
    threads: int | None = None
    request_seconds: float = 30.0
    stop_seconds: int = 10

    def __post_init__(self) -> None:
        for name in ("max_batch", "topk", "max_bytes", "max_pixels", "workers", "stop_seconds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_waiting", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if not 0 < self.image_seconds < math.inf:
            raise ConfigError(f"image_seconds must be more than 0, got {self.image_seconds:g}")
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port must be 0 to 65535, got {self.port}")
        if not 0 <= self.timeout_ms <= 1000 * self.request_seconds:
            limit = f"0 to request_seconds ({self.request_seconds:g} s)"
            raise ConfigError(f"timeout_ms must be {limit}, got {self.timeout_ms:g} ms")

    @property
    def places(self) -> int:
        """Return how many requests may be under way."""
        return self.max_waiting or 8 * self.max_batch * self.workers
