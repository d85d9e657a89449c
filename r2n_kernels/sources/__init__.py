"""This room says what is read, and by which name."""

from .sample import Sample

__all__ = ["Sample"]
