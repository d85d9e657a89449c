"""Optional packages are imported where they are needed, or missed in one sentence."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .errors import ConfigError


def load(module: str, extra: str, what: str) -> ModuleType:
    """Import a package of an extra. Raises ConfigError, saying what needs it and how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"{what} needs {module}: pip install 'r2n_kernels[{extra}]'") from error
