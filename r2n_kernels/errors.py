"""The package raises these exceptions. Each is also the built-in one that a caller would expect."""

from __future__ import annotations


class R2NError(Exception):
    """R2NError is the base of every error that this package raises on purpose, TypeError aside."""


class ConfigError(R2NError, ValueError):
    """A model name, configuration or option cannot be honoured."""


class UnknownModelError(ConfigError):
    """A model name is outside the nine variants; the message names the nearest ones."""


class InputError(R2NError, ValueError):
    """A tensor given to a model has the wrong rank, channels, size, dtype, device or values."""


class WeightsError(R2NError, ValueError):
    """Weights are missing, unexpected, mis-shaped, damaged or not finite."""


class HubError(WeightsError):
    """The Hub could not deliver: offline, 404, truncated or wrong-hash download."""


class ImageError(R2NError, ValueError):
    """A file cannot be read as an image; the message is the reason, without the path."""


class KernelError(R2NError, RuntimeError):
    """A kernel cannot be compiled, loaded or launched here; the message names the kernel."""


class BundleError(R2NError, ValueError):
    """A bundle is damaged or foreign, or has no code for what was asked; the message says which."""


class NoCodeError(BundleError):
    """A bundle has no code for a chip, batch or size; the message says what it has."""


class RecordError(R2NError, ValueError):
    """A file of measurements is damaged, foreign or empty; the message names file and line."""


class InferenceOnlyError(R2NError, RuntimeError):
    """Training was asked of an inference module; the message points to the reference."""
